"""Sample conversations in many scripts, both directions, and emoji of every construction."""

from __future__ import annotations

from .build import LARGE, assistant, conversation, system, user

LANGUAGES = [
    conversation(
        "arabic-coffee",
        system("أجب بإيجاز وبأسلوب ودود."),
        user("كيف أحضّر القهوة العربية لأربعة أشخاص؟"),
        assistant(
            "ضع أربعة فناجين من الماء على النار، ثم أضف ثلاث ملاعق من البن الفاتح واتركه يغلي "
            "عشر دقائق. أضف ملعقة صغيرة من الهيل في النهاية."
        ),
        user("هل أضيف السكر؟"),
        reply="لا، تُقدَّم القهوة العربية من دون سكر، ومعها التمر.",
        language="ar",
    ),
    conversation(
        "hebrew-python",
        user("איך כותבים ב-Python לולאה מ-1 עד 10?"),
        assistant("כך: `for i in range(1, 11):` — שימו לב שהסוף (11) אינו נכלל."),
        user("ולמה הסוף לא נכלל?"),
        reply="כדי ש-`range(a, b)` יכיל בדיוק b − a איברים, ושני טווחים סמוכים לא יחפפו.",
        language="he",
    ),
    conversation(
        "chinese-poem",
        user("“海内存知己，天涯若比邻”是谁写的？"),
        assistant("是唐代诗人王勃，出自《送杜少府之任蜀州》。"),
        user("用现代汉语怎么说？"),
        reply="只要世上有知心的朋友，即使远在天边，也像邻居一样近。",
        language="zh",
    ),
    conversation(
        "hindi-monsoon",
        user("मानसून में छत पर कौन-सी सब्ज़ियाँ उगा सकते हैं?"),
        assistant("भिंडी, लौकी और करेला बारिश में अच्छे बढ़ते हैं। गमले में पानी जमा न होने दें।"),
        user("धनिया?"),
        reply="धनिया तेज़ बारिश में सड़ जाता है; उसे छज्जे के नीचे रखें।",
        language="hi",
    ),
    conversation(
        "thai-market",
        user("ซื้อมะม่วงสุกเลือกยังไงคะ"),
        assistant("ดมที่ขั้วค่ะ ถ้าหอมหวานและผิวนิ่มเล็กน้อยแปลว่าสุกพอดี"),
        user("เก็บได้กี่วันคะ"),
        reply="ในตู้เย็นได้ประมาณสามถึงห้าวันค่ะ",
        language="th",
    ),
    conversation(
        "japanese-rain",
        user("「雨」を表す日本語をいくつか教えてください。"),
        assistant("春雨、五月雨、夕立、時雨、小糠雨などがあります。"),
        user("「狐の嫁入り」も雨ですか?"),
        reply="はい。晴れているのに降る雨のことです。",
        language="ja",
    ),
    conversation(
        "many-greetings",
        user("Say “good morning” in Greek, Georgian, Korean, Amharic and Tamil."),
        assistant("Καλημέρα · დილა მშვიდობისა · 좋은 아침이에요 · እንደምን አደሩ · காலை வணக்கம்"),
        user("And in Vietnamese, with all its marks, please."),
        reply="Chào buổi sáng!",
        language="many",
    ),
    conversation(
        "emoji-family",
        user("Tell a story in emoji: a family, a flag, a rainbow."),
        # Joined by zero-width joiners, with skin tones, a flag of two letters, a keycap.
        assistant(
            "👨\u200d👩\u200d👧\u200d👦 🚗 🏴\u200d☠️ ⛵ 🌧️ 🏳️\u200d🌈 👩🏽\u200d🚀 🇳🇵 1️⃣0️⃣ ❤️\u200d🔥"
        ),
        user("And how many people are in it? 🧑🏿\u200d🤝\u200d🧑🏻"),
        reply="Five: a family of four, and an astronaut. The pirate stayed at home. 🏠",
        model=LARGE,
        language="emoji",
    ),
]

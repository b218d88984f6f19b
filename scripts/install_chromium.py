"""Install Debian's Chromium for the browser test, where that may be done.

Says what it did, or why it could not; the browser test then skips with that reason,
which CI counts as a failure.
"""

import os
import shutil
import subprocess
import sys

NAMES = ("chromium", "chromium-browser", "google-chrome")


def main() -> int:
    if any(map(shutil.which, NAMES)):
        return 0
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        print("No Chromium here, and it cannot be installed: the browser test will be skipped.")
        print("On Debian: sudo apt-get install chromium")
        return 0
    print("Installing Chromium ...", flush=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (
        ["apt-get", "-qq", "update"],
        ["apt-get", "-qq", "install", "--yes", "--no-install-recommends", "chromium"],
    ):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            print(f"{' '.join(command)} failed:\n{done.stderr}", file=sys.stderr)
            return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())

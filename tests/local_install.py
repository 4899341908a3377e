"""Install from a local index in a process of its own, to be killed: prints the phases as they come.

python local_install.py PYTHON INDEX_URL RELEASE BACKEND INSTALLER
"""

from __future__ import annotations

import sys

from local_targets import family, plan_of, target_of

from torchcheck.install import apply


def main() -> None:
    python, url, release, backend, installer = sys.argv[1:]
    target = target_of(python)
    plan = plan_of(python, family(int(release), backend), "--index-url", url, backend=backend)
    apply(plan, target, installer=installer, on_event=tell)  # type: ignore[arg-type]
    print("done", flush=True)


def tell(event: dict[str, object]) -> None:
    if event["event"] in {"phase", "step", "waiting"}:
        print(event.get("phase") or event.get("text"), flush=True)


if __name__ == "__main__":
    main()

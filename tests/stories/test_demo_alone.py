"""Story 5: `demo --once` in a network namespace that has nothing but its own loopback: the story completes, in both languages."""
import concurrent.futures
import os
import subprocess
import time

from support.gateway import BINARY

STEPS = {  # of each line one word must be said
    "en": [("trapped", "entrapment"), ("raised",), ("delivered", "accepted", "received"), ("freed", "returned", "cleared", "closed")],
    "zh": [("困",), ("报警", "告警", "警报"), ("送达", "送到", "签收", "收到", "接收", "投递"), ("解除", "恢复", "救出", "获救", "脱困", "关闭", "消除")],
}


def tell(lang, folder):
    folder.mkdir()
    command = ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$0" demo --once --lang "$1"', str(BINARY), lang]
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "TMPDIR": str(folder), "NO_COLOR": "1", "LANG": "C.UTF-8"}
    begun = time.monotonic()
    done = subprocess.run(command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout + done.stderr, time.monotonic() - begun


def test_demo_alone(tmp_path):
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        told = {lang: pool.submit(tell, lang, tmp_path / lang) for lang in STEPS}
    for lang, steps in STEPS.items():
        code, said, took = told[lang].result()
        print(f"demo --once --lang {lang}: {took:.1f} s")
        assert code == 0, f"exit {code}\n{said}"
        missing = [words for words in steps if not any(word in said.lower() for word in words)]
        assert not missing, f"{lang}: not told: {missing}\n{said}"

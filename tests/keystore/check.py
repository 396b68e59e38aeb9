"""Moves a device's key into a real Secret Service and out again, and makes homes in every way, with the real program.

usage: python3 tests/keystore/check.py PATH_OF_LIFEOS PATH_OF_LIFEOS_RELAY

The program has to be built with the feature `keystore`; dbus, gnome-keyring and libsecret-tools have to be installed.
Everything lies in a temporary folder, the keyring included, and on a message bus that starts no service by itself.
"""

import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

BUS = """<busconfig><type>session</type><listen>unix:tmpdir=/tmp</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*"/><allow receive_sender="*"/><allow own="*"/></policy></busconfig>"""
MAGIC = b"LSDEVKEY"
PLAIN, ELSEWHERE = 1, 3


class Scene:
    def __init__(self, program, folder):
        self.program, self.folder = program, pathlib.Path(folder)
        data, run = self.folder / "data", self.folder / "run"
        for made in (data, run):
            made.mkdir(mode=0o700)
        self.env = dict(os.environ, XDG_DATA_HOME=str(data), XDG_RUNTIME_DIR=str(run), HOME=str(self.folder))

    def keyring_starts(self):
        """A daemon whose default keyring a password opens; the same files every time."""
        command = ["gnome-keyring-daemon", "--unlock", "--components=secrets", "--foreground", "--replace"]
        self.daemon = subprocess.Popen(
            command, env=self.env, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self.daemon.stdin.write(b"password of the keyring")
        self.daemon.stdin.close()
        wait = ["gdbus", "wait", "--session", "--timeout", "20", "org.freedesktop.secrets"]
        subprocess.run(wait, env=self.env, check=True)

    def keyring_ends(self):
        self.daemon.terminate()
        self.daemon.wait()

    def command(self, *args, home="home"):
        return [self.program, "--home", str(self.folder / home), "--json", *args]

    def run(self, *args, home="home", typed=""):
        command = self.command(*args, home=home)
        return subprocess.run(command, env=self.env, input=typed, capture_output=True, text=True, timeout=60)

    def said(self, *args, home="home", typed=""):
        done = self.run(*args, home=home, typed=typed)
        assert done.returncode == 0, (args, done.stdout, done.stderr)
        return json.loads(done.stdout.splitlines()[-1]) if done.stdout else None

    def key_file(self, home="home"):
        return (self.folder / home / "device.key").read_bytes()

    def form(self, home="home"):
        assert self.key_file(home).startswith(MAGIC)
        return self.key_file(home)[len(MAGIC)]

    def relay_starts(self, program):
        command = [program, "serve", "--data", str(self.folder / "relay"), "--listen", "127.0.0.1:0"]
        self.relay = subprocess.Popen(command, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        for line in self.relay.stdout:
            if "ws://" in line:
                return re.search(r"ws://[^\" ,]+", line).group()
        raise AssertionError("the relay does not start")

    def link(self, home, relay):
        """A device of the same person, by the link and the code that it shows."""
        command = self.command("link", "new", "--relay", relay, "--name", home, home=home)
        new = subprocess.Popen(command, env=self.env, stdout=subprocess.PIPE, text=True)
        shown = json.loads(new.stdout.readline())["link"]
        approve = self.command("link", "approve", shown, home="begun")
        approve = subprocess.Popen(approve, env=self.env, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        approve.communicate(json.loads(new.stdout.readline())["code"] + "\n", timeout=60)
        linked = json.loads(new.stdout.readline())
        assert approve.returncode == 0 and new.wait(60) == 0
        return linked


def keeps(scene, home, said, before):
    """The key of a new home is in the keyring, is said to be there, and opens the home; the file never held it last."""
    assert said["key_place"] == "keystore", said
    assert scene.form(home) == ELSEWHERE, home
    assert scene.said("key", "show", home=home)["place"] == "keystore"
    scene.said("note", "add", f"written in {home}", home=home)
    assert scene.key_file(home) not in before, "every home has an entry of its own"
    before.append(scene.key_file(home))


def every_way_to_a_home(scene, relay_program):
    """init, link new, restore and recover, each with a keyring that runs."""
    relay, before = scene.relay_starts(relay_program), []
    begun = scene.said("init", "--relay", relay, home="begun")
    keeps(scene, "begun", begun, before)
    words = begun["recovery_phrase"] + "\n"
    scene.said("sync", home="begun")
    scene.said("backup", str(scene.folder / "all.lifeos"), home="begun")
    restored = scene.said("restore", str(scene.folder / "all.lifeos"), home="restored", typed=words)
    keeps(scene, "restored", restored, before)
    keeps(scene, "linked", scene.link("linked", relay), before)
    recovered = scene.said("recover", "--relay", relay, home="recovered", typed=words)
    keeps(scene, "recovered", recovered, before)
    scene.relay.terminate()
    scene.relay.wait()
    print("init, restore, link new, recover: the key of each new home is in the keyring")


def main(program, relay_program):
    with tempfile.TemporaryDirectory() as folder:
        scene = Scene(program, folder)
        done = scene.run("init")
        begun = json.loads(done.stdout)
        assert done.returncode == 0 and begun["key_place"] == "file" and "keystore" in done.stderr, done
        seed = scene.key_file()[9:41]
        assert scene.form() == PLAIN
        backup = str(scene.folder / "plain.lifeos")
        scene.said("backup", backup)
        restored = scene.said("restore", backup, home="without", typed=begun["recovery_phrase"] + "\n")
        assert restored["key_place"] == "file" and scene.form("without") == PLAIN
        print("no service: new homes keep their key in a file, and it is said")

        refused = scene.run("key", "move", "keystore")
        assert refused.returncode == 1, "without a keyring the key stays where it is"
        assert scene.form() == PLAIN
        print("no service: refused, the key stays in its file")

        scene.keyring_starts()
        assert scene.said("key", "move", "keystore")["place"] == "keystore"
        assert scene.form() == ELSEWHERE and seed not in scene.key_file()
        scene.said("note", "add", "written with a key from the keyring", "--text", "text")
        print("moved in: another process opens the home with it")

        scene.keyring_ends()
        refused = scene.run("note", "list")
        assert refused.returncode == 1 and "keystore" in refused.stdout + refused.stderr, refused
        print("service gone: refused with a word about the keystore")

        scene.keyring_starts()
        notes = scene.said("note", "list")
        assert "written with a key from the keyring" in json.dumps(notes)
        print("service back: the entry outlived the daemon")

        assert scene.said("key", "move", "file")["place"] == "file"
        assert scene.form() == PLAIN and seed in scene.key_file()
        found = subprocess.run(
            ["secret-tool", "search", "--all", "service", "lifeos"], env=scene.env, capture_output=True, text=True
        )
        assert "device-key-" not in found.stdout + found.stderr, "the entry is gone"
        every_way_to_a_home(scene, relay_program)
        scene.keyring_ends()
        scene.said("note", "list")
        print("moved out: no service is asked any more, and nothing is left in it")
    print("keystore: 7 checks held")


def on_a_bus(programs):
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as config:
        config.write(BUS)
        config.flush()
        bus = ["dbus-run-session", "--config-file", config.name, "--"]
        return subprocess.call([*bus, sys.executable, __file__, "--on-the-bus", *programs])


if __name__ == "__main__":
    if sys.argv[1] == "--on-the-bus":
        main(*sys.argv[2:])
    else:
        sys.exit(on_a_bus([os.path.abspath(program) for program in sys.argv[1:3]]))

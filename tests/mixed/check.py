"""Programs of two versions in one space: an older device beside one of today, at an older relay and at one of today.

usage: python3 tests/mixed/check.py FOLDER_OF_OLDER_PROGRAMS FOLDER_OF_TODAYS_PROGRAMS

Both folders hold `lifeos` and `lifeos-relay`. Everything the devices make lies in a temporary folder.
"""

import json
import pathlib
import re
import subprocess
import sys
import tempfile
import time

WAIT_S = 60


class Relay:
    def __init__(self, programs, data):
        self.said = data.with_suffix(".txt")
        with self.said.open("wb") as out:
            command = [str(programs / "lifeos-relay"), "serve", "--data", str(data), "--listen", "127.0.0.1:0"]
            self.process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
        self.url = waited_for(self.said, r"ws://[^ \",]*")

    def stop(self):
        self.process.terminate()
        self.process.wait(WAIT_S)


def waited_for(file, pattern):
    """What a program has printed, once it has."""
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end:
        found = re.search(pattern, file.read_text())
        if found:
            return found.group(0)
        time.sleep(0.05)
    raise AssertionError(f"{file.name} never said {pattern}: {file.read_text()}")


class Device:
    def __init__(self, programs, home):
        self.programs, self.home = programs, home

    def command(self, *args):
        return [str(self.programs / "lifeos"), "--home", str(self.home), "--json", *args]

    def run(self, *args, typed=""):
        return subprocess.run(self.command(*args), input=typed, capture_output=True, text=True, timeout=WAIT_S)

    def said(self, *args, typed=""):
        done = self.run(*args, typed=typed)
        assert done.returncode == 0, (self.home.name, args, done.stdout, done.stderr)
        return json.loads(done.stdout) if done.stdout.lstrip().startswith("{") else done.stdout

    def link(self, url, approver):
        out_file = self.home.with_suffix(".link")
        with out_file.open("wb") as out:
            new = self.command("link", "new", "--relay", url, "--name", self.home.name)
            new = subprocess.Popen(new, stdout=out, stderr=subprocess.STDOUT)
        link = waited_for(out_file, r"LS1[A-Za-z0-9_.=-]*")
        # The approver asks for the code once both have met.
        approve = approver.command("link", "approve", link)
        approve = subprocess.Popen(approve, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        code = re.search(r"[0-9]{6}", waited_for(out_file, r'"code": *"[0-9]{6}"')).group(0)
        said, _ = approve.communicate(f"{code}\n".encode(), WAIT_S)
        assert approve.returncode == 0, said
        assert new.wait(WAIT_S) == 0, out_file.read_text()

    def note(self, title, text):
        return self.said("note", "add", title, "--text", text)["id"]

    def compact(self):
        """A checkpoint, if its version makes any and the relay's takes any; whoever makes none meets those of the other."""
        done = self.run("space", "compact")
        is_known = [reason in done.stderr for reason in ("unrecognized subcommand", "they were taken back")]
        assert done.returncode == 0 or any(is_known), (self.home.name, done.stderr)

    def text(self, note):
        return self.said("note", "show", note)["markdown"]

    def notes(self):
        """What a person sees of every note."""
        ids = sorted(note["id"] for note in self.said("note", "list")["notes"])
        return {note: (self.said("note", "show", note)["title"], self.text(note)) for note in ids}


def synced(*devices):
    for device in devices * 2:
        device.said("sync")


def together(relay_programs, first_programs, second_programs, folder):
    relay = Relay(relay_programs, folder / "relay")
    first, second = Device(first_programs, folder / "first"), Device(second_programs, folder / "second")
    first.said("init", "--name", "first", "--person", "me", "--relay", relay.url)
    boiler = first.note("Boiler", "Serviced in March.\n\n- [ ] call the plumber\n")
    second.link(relay.url, first)
    synced(first, second)
    assert second.notes() == first.notes() != {}

    # Both edit the same note while they are apart.
    first.said("note", "todo", boiler, "1")
    first.said("notebook", "add", "Home")
    first.said("note", "move", boiler, "Home")
    second.said("note", "tag", boiler, "winter")
    train = second.note("Train", "Track 4\n")
    synced(first, second)
    assert "- [x] call the plumber" in second.text(boiler), second.text(boiler)
    assert "Track 4" in first.text(train)
    assert second.notes() == first.notes()

    # A new key by either, a checkpoint by either, and edits behind both.
    for one, other in ((first, second), (second, first)):
        one.said("epoch", "rotate")
        note = one.note(f"By {one.home.name}", "under the new key\n")
        synced(one, other)
        assert "under the new key" in other.text(note)
        one.compact()
        synced(other, one)
        assert one.notes() == other.notes()

    # A third device, of the version of the second, is let in by the first and put out by it again.
    third = Device(second_programs, folder / "third")
    third.link(relay.url, first)
    synced(third, first, second)
    assert third.notes() == first.notes()
    first.said("device", "remove", "third")
    synced(first, second)
    later = {first.note("Later", "not for the third\n"), second.note("Later still", "neither\n")}
    synced(first, second)
    assert third.run("sync").returncode != 0, "it was removed"
    assert not later & set(third.notes())
    assert first.notes() == second.notes()
    for device in (first, second):
        device.said("doctor")
    relay.stop()
    return first, second


def updated(device, programs):
    """The home of an older program, opened by one of today: everything is there, and it goes on syncing."""
    before = device.notes()
    device.programs = programs
    assert device.notes() == before
    device.said("doctor")


def main():
    older, todays = (pathlib.Path(folder).resolve() for folder in sys.argv[1:3])
    for relay in (older, todays):
        for first, second in ((older, todays), (todays, older)):
            with tempfile.TemporaryDirectory() as folder:
                folder = pathlib.Path(folder)
                devices = together(relay, first, second, folder)
                names = ["older" if programs == older else "today's" for programs in (relay, first, second)]
                for device in devices:
                    updated(device, todays)
                again = Relay(todays, folder / "relay")
                for device in devices:
                    device.said("relay", "set", again.url)
                synced(*devices)
                assert devices[0].notes() == devices[1].notes()
                again.stop()
                print("relay {}, devices {} and {}: ok".format(*names))


if __name__ == "__main__":
    main()

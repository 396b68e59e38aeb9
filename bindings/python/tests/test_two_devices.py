"""Two devices and a relay, driven for real through the Python bindings.

Needs the generated module `lifeos_ffi` with its library on PYTHONPATH, and the path of the `lifeos-relay`
program in LIFEOS_RELAY; `cargo xtask bindings` sees to both. Nothing but the standard library is used.
"""

import asyncio
import tempfile
import unittest
from pathlib import Path

import lifeos_ffi
from lifeos_ffi import LifeOs, LifeOsError, NoteDraft, NoteFilter, NoteListChange, Selection, SyncEvent

from relay_process import Relay

WAIT_S = 60


async def link(first, home, relay, name="phone"):
    """Links a second device: it shows a link and a code, and the code is typed into the first."""
    new = await lifeos_ffi.link_new(home, relay, name)
    approving = asyncio.create_task(first.link_approve(new.link()))
    code = await asyncio.wait_for(new.code(), WAIT_S)
    approve = await asyncio.wait_for(approving, WAIT_S)
    finishing = asyncio.create_task(new.finish())
    outcome = await asyncio.wait_for(approve.enter_code(code), WAIT_S)
    return approve, outcome, await asyncio.wait_for(finishing, WAIT_S)


async def sync_until_quiet(*devices):
    """Lets the devices sync in turn until neither has anything to say."""
    for _ in range(6):
        moved = 0
        for device in devices:
            report = await asyncio.wait_for(device.sync(), WAIT_S)
            moved += report.pushed + report.pulled
        if moved == 0:
            return
    raise AssertionError("the devices never came to rest")


class TwoDevices(unittest.IsolatedAsyncioTestCase):
    @classmethod
    def setUpClass(cls):
        cls.relay = Relay()

    @classmethod
    def tearDownClass(cls):
        cls.relay.stop()

    async def asyncSetUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix="lifeos-python-")
        self.addCleanup(self.folder.cleanup)
        self.open = []
        made = await lifeos_ffi.create_home(self.home("laptop"), "laptop", "owner", self.relay.url)
        self.laptop = self.remember(made.engine)
        self.phrase = made.recovery_phrase

    async def asyncTearDown(self):
        for device in self.open:
            await device.shutdown()

    def home(self, name):
        return str(Path(self.folder.name) / name)

    def remember(self, device):
        self.open.append(device)
        return device

    async def link_phone(self):
        _, outcome, phone = await link(self.laptop, self.home("phone"), self.relay.url)
        self.assertTrue(outcome.approved)
        return self.remember(phone)

    async def assert_converged(self, one, other):
        self.assertEqual(await one.heads(), await other.heads())
        self.assertEqual(await one.projection_digest(), await other.projection_digest())

    async def test_edits_made_offline_on_both_devices_come_together(self):
        phone = await self.link_phone()
        self.assertEqual(self.laptop.space_id(), phone.space_id())
        self.assertNotEqual(self.laptop.device_id(), phone.device_id())
        note = await self.laptop.note_create(NoteDraft(title="Packing list", markdown="- [ ] passport\n- [ ] charger\n"))
        await sync_until_quiet(self.laptop, phone)

        text = (await self.laptop.note(note)).markdown
        await self.laptop.note_set_markdown(note, "Written on the laptop.\n\n" + text)
        await self.laptop.note_set_property(note, "rating", "4")
        await phone.note_set_markdown(note, text + "\nWritten on the phone.\n")
        await phone.note_tag(note, "travel", True)
        await phone.note_create(NoteDraft(title="Only on the phone", markdown="rhubarb\n"))
        self.assertNotEqual(await self.laptop.heads(), await phone.heads())

        await sync_until_quiet(self.laptop, phone)
        await self.assert_converged(self.laptop, phone)
        for device in (self.laptop, phone):
            merged = await device.note(note)
            self.assertIn("Written on the laptop.", merged.markdown)
            self.assertIn("Written on the phone.", merged.markdown)
            self.assertEqual(merged.tags, ["travel"])
            self.assertIn(("rating", "4"), [(one.name, one.json) for one in merged.properties])
        found = await self.laptop.search("rhubarb", 10)
        self.assertEqual([hit.title for hit in found], ["Only on the phone"])
        status = await self.laptop.status()
        self.assertEqual((status.changes_pending, status.envelopes_unsent, status.quarantine), (0, 0, []))
        self.assertEqual(len([one for one in status.devices if one.kind == "normal"]), 2)

    async def test_a_device_that_syncs_live_tells_what_arrives(self):
        phone = await self.link_phone()
        events = phone.subscribe()
        phone.start_sync()
        note = await self.laptop.note_create(NoteDraft(title="Live", markdown="sent while the phone listens\n"))
        await asyncio.wait_for(self.laptop.sync(), WAIT_S)

        async def arrives():
            while True:
                for event in await events.next_events(100):
                    if isinstance(event, SyncEvent.DOCUMENTS_CHANGED) and event.remote and note in event.docs:
                        return

        await asyncio.wait_for(arrives(), WAIT_S)
        self.assertEqual((await phone.note(note)).title, "Live")
        await phone.stop_sync()

    async def test_two_devices_that_sync_live_see_where_the_other_is(self):
        phone = await self.link_phone()
        note = await self.laptop.note_create(NoteDraft(title="Live", markdown="one two\n"))
        await sync_until_quiet(self.laptop, phone)
        events = phone.subscribe()
        for device in (self.laptop, phone):
            device.start_sync()
        await self.laptop.show_presence(False, note, Selection(anchor=1, head=4))
        await phone.show_presence(True, None, None)

        async def seen():
            while not await phone.presence():
                await events.next_events(100)
            return await phone.presence()

        here = await asyncio.wait_for(seen(), WAIT_S)
        self.assertEqual([(one.device, one.note, one.idle) for one in here], [(self.laptop.device_id(), note, False)])
        self.assertEqual((here[0].selection.anchor, here[0].selection.head), (1, 4))
        for device in (self.laptop, phone):
            await device.stop_sync()
        self.assertEqual(await phone.presence(), [])

    async def test_a_reader_that_stops_waiting_loses_no_event(self):
        events = self.laptop.subscribe()
        waiting = asyncio.create_task(events.next_events(10))
        await asyncio.sleep(0)
        waiting.cancel()
        with self.assertRaises(asyncio.CancelledError):
            await waiting
        note = await self.laptop.note_create(NoteDraft(title="After the cancelled wait"))
        received = await asyncio.wait_for(events.next_events(10), WAIT_S)
        self.assertIn(note, received[0].docs)

    async def test_a_watched_list_is_told_what_changed_in_it(self):
        watch = self.laptop.watch_notes(NoteFilter(tag="watched"))
        first = await asyncio.wait_for(watch.next_changes(), WAIT_S)
        self.assertEqual([change.notes for change in first], [[]])
        note = await self.laptop.note_create(NoteDraft(title="Watched", tags=["watched"]))
        (added,) = await asyncio.wait_for(watch.next_changes(), WAIT_S)
        self.assertIsInstance(added, NoteListChange.ADDED)
        self.assertEqual((added.at, added.note.id), (0, note))
        await self.laptop.note_trash(note, True)
        (removed,) = await asyncio.wait_for(watch.next_changes(), WAIT_S)
        self.assertIsInstance(removed, NoteListChange.REMOVED)
        watch.stop()
        self.assertEqual(await asyncio.wait_for(watch.next_changes(), WAIT_S), [])

    async def test_a_stopped_stream_and_an_engine_that_was_shut_down_end_cleanly(self):
        stopped, ended = self.laptop.subscribe(), self.laptop.subscribe()
        waiting = [asyncio.create_task(one.next_events(1)) for one in (stopped, ended)]
        await asyncio.sleep(0)
        stopped.stop()
        self.assertEqual(await asyncio.wait_for(waiting[0], WAIT_S), [])
        await self.laptop.shutdown()
        self.assertEqual(await asyncio.wait_for(waiting[1], WAIT_S), [])
        with self.assertRaises(LifeOsError.Stopped) as refused:
            await self.laptop.notes(NoteFilter())
        self.assertEqual(refused.exception.code, "stopped")

    async def test_three_wrong_codes_end_a_link(self):
        new = await lifeos_ffi.link_new(self.home("tablet"), self.relay.url, "tablet")
        approving = asyncio.create_task(self.laptop.link_approve(new.link()))
        code = await asyncio.wait_for(new.code(), WAIT_S)
        approve = await asyncio.wait_for(approving, WAIT_S)
        self.assertEqual(approve.device_name(), "tablet")
        wrong = f"{(int(code) + 1) % 1_000_000:06}"
        for left in (2, 1):
            outcome = await asyncio.wait_for(approve.enter_code(wrong), WAIT_S)
            self.assertEqual((outcome.approved, outcome.tries_left), (False, left))
        with self.assertRaises(LifeOsError.Security):
            await asyncio.wait_for(approve.enter_code(wrong), WAIT_S)

    async def test_a_relay_with_another_key_is_refused(self):
        address = self.relay.url.split("#")[0]
        made = await lifeos_ffi.create_home(self.home("other"), "other", "owner", f"{address}#{'11' * 32}")
        other = self.remember(made.engine)
        with self.assertRaises(LifeOsError.Security) as refused:
            await asyncio.wait_for(other.sync(), WAIT_S)
        self.assertFalse(refused.exception.retryable)

    async def test_a_relay_that_is_not_there_may_be_tried_again(self):
        made = await lifeos_ffi.create_home(self.home("lonely"), "lonely", "owner", "ws://127.0.0.1:9")
        lonely = self.remember(made.engine)
        note = await lonely.note_create(NoteDraft(title="Safe"))
        with self.assertRaises(LifeOsError.Network) as refused:
            await asyncio.wait_for(lonely.sync(), WAIT_S)
        self.assertTrue(refused.exception.retryable)
        self.assertTrue(refused.exception.reason)
        self.assertEqual((await lonely.note(note)).title, "Safe")

    async def test_homes_are_made_once_and_opened_again(self):
        self.assertIn(len(self.phrase.split()), (12, 24))
        with self.assertRaises(LifeOsError.Home):
            await lifeos_ffi.create_home(self.home("laptop"), "laptop", "owner", None)
        with self.assertRaises(LifeOsError.Home):
            await LifeOs.open(self.home("nowhere"))
        note = await self.laptop.note_create(NoteDraft(title="Kept"))
        await self.laptop.shutdown()
        again = self.remember(await LifeOs.open(self.home("laptop")))
        self.assertEqual((await again.note(note[:8])).title, "Kept")

    async def test_bad_input_is_told_apart(self):
        note = await self.laptop.note_create(NoteDraft(title="One"))
        with self.assertRaises(LifeOsError.NotFound):
            await self.laptop.note("ffff" if not note.startswith("ffff") else "0000")
        with self.assertRaises(LifeOsError.Invalid):
            await self.laptop.note_set_property(note, "rating", "not json")

    async def test_import_and_export_keep_the_text(self):
        vault = Path(self.folder.name) / "vault"
        vault.mkdir()
        (vault / "Soup.md").write_text("# Soup\n\n- [ ] leek\n", encoding="utf-8")
        (vault / "broken.md").write_bytes(b"\xff\xfe\xfd broken")
        report = await self.laptop.import_markdown(str(vault), False)
        self.assertEqual((report.created, report.failed), (1, 1))
        again = await self.laptop.import_markdown(str(vault), False)
        self.assertEqual((again.created, again.updated), (0, 0))
        out = Path(self.folder.name) / "out"
        self.assertEqual((await self.laptop.export_markdown(str(out))).notes, 1)
        self.assertIn("- [ ] leek", "".join(one.read_text() for one in out.rglob("*.md")))


if __name__ == "__main__":
    unittest.main()

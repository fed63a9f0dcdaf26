from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Empty

import pytest
from kombu import pools
from services import free_port

from worker.processes.tasks import ring_delivery, ring_triage
from worker.queue.broker import LONGEST_URGENT_STREAK, StatFirst, Transport
from worker.queue.celery_app import HARD_TIME_LIMIT_SECONDS, VISIBILITY_TIMEOUT_SECONDS, app, celery_settings, configure
from worker.queue.waiting import messages_waiting
from worker.settings.config import Settings

UID = "1.2.826.0.1.3680043.8.498.1"


@pytest.fixture(params=["filesystem", "redis"])
def broker_settings(request: pytest.FixtureRequest, make_settings: Callable[..., Settings]) -> Settings:
    if request.param == "filesystem":
        return make_settings()
    return make_settings(broker_url=request.getfixturevalue("redis_url"))


@pytest.fixture(autouse=True)
def _leave_no_connections() -> Iterator[None]:
    yield
    pools.reset()


def start_anew(settings: Settings) -> None:
    """Be as a process that has just been started: nothing is bound yet."""
    pools.reset()
    Transport.global_state.clear()
    configure(settings)


def waiting(queue: str) -> list[str]:
    """Take every message of the queue and return the study each one names."""
    studies: list[str] = []
    with app.connection_for_read() as connection, connection.SimpleQueue(queue) as messages:
        while True:
            try:
                message = messages.get(block=True, timeout=0.3)
            except Empty:
                return studies
            arguments, keywords, _embedded = message.payload
            assert keywords == {}
            studies.extend(arguments)
            message.ack()


def test_a_ring_is_one_json_message_with_the_study_uid_and_nothing_else(broker_settings: Settings) -> None:
    configure(broker_settings)
    ring_triage(UID, "stat")
    ring_triage(UID, "routine")
    ring_delivery(UID)
    assert [waiting(queue) for queue in ("stat", "routine", "delivery")] == [[UID], [UID], [UID]]


def test_messages_on_disk_are_readable_json_and_wait_inside_the_data_folder(
    make_settings: Callable[..., Settings],
) -> None:
    settings = make_settings()
    configure(settings)
    ring_triage(UID, "routine")
    (message,) = (settings.data_dir / "queue" / "messages").iterdir()
    assert message.name.endswith(".routine.msg")
    assert json.loads(message.read_text())["content-type"] == "application/json"


def test_a_dead_broker_does_not_hurt_the_listener_and_is_logged(
    make_settings: Callable[..., Settings], caplog: pytest.LogCaptureFixture
) -> None:
    configure(make_settings(broker_url=f"redis://127.0.0.1:{free_port()}/0"))
    with caplog.at_level(logging.WARNING):
        ring_triage(UID, "stat")
    assert "the sweeper will" in caplog.text


def test_stat_is_asked_first() -> None:
    order = StatFirst(["routine", "stat"])
    assert order.consume(2) == ["stat", "routine"]


def test_routine_gets_its_turn_after_a_streak_of_stat() -> None:
    order, waiting_routine, served = StatFirst(["stat", "routine"]), 3, []
    for _ in range(15):  # stat never runs dry
        first = order.consume(2)[0]
        waiting_routine -= first == "routine"
        served.append(order.rotate(first))
    assert waiting_routine == 0
    assert served[:LONGEST_URGENT_STREAK] == ["stat"] * LONGEST_URGENT_STREAK
    assert served[LONGEST_URGENT_STREAK] == "routine"
    assert served.count("routine") == 3


def test_on_disk_a_stat_message_overtakes_older_routine_ones(make_settings: Callable[..., Settings]) -> None:
    settings = make_settings()
    configure(settings)
    for number in range(3):
        ring_triage(f"1.2.{number}", "routine")
    ring_triage(UID, "stat")
    served = []
    with app.connection_for_read() as connection:
        consumer = connection.Consumer(
            [app.amqp.queues["routine"], app.amqp.queues["stat"]],
            callbacks=[lambda body, message: (served.append(body[0][0]), message.ack())],
        )
        with consumer:
            for _ in range(4):
                connection.drain_events(timeout=2)
    assert served == [UID, "1.2.0", "1.2.1", "1.2.2"]


def test_a_half_written_message_is_not_seen(make_settings: Callable[..., Settings]) -> None:
    settings = make_settings()
    configure(settings)
    messages: Path = Path(celery_settings(settings)["broker_transport_options"]["data_folder_in"])
    (messages / "000000000000001_x.tmp").write_text("{")
    ring_triage(UID, "routine")
    assert waiting("routine") == [UID]


@pytest.mark.parametrize("left", [b"", b"\0" * 300, b'{"body": "W1si', b"\xff\xfe"])
def test_what_a_power_cut_leaves_of_a_message_is_dropped_and_the_next_one_read(
    make_settings: Callable[..., Settings], left: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """Celery's worker ended of the first, and of each that was left once more."""
    settings = make_settings()
    configure(settings)
    messages: Path = Path(celery_settings(settings)["broker_transport_options"]["data_folder_in"])
    for number in range(2):
        (messages / f"0000000000000000000{number}_x.routine.msg").write_bytes(left)
    ring_triage(UID, "routine")
    assert waiting("routine") == [UID]
    assert list(messages.iterdir()) == []
    assert "the sweeper rings again" in caplog.text


@pytest.mark.parametrize("left", [b"", b'[["routine", "'])
def test_what_a_power_cut_leaves_of_the_list_of_queues_is_written_anew(
    make_settings: Callable[..., Settings], left: bytes
) -> None:
    settings = make_settings()
    start_anew(settings)
    ring_triage("1.2.1", "routine")
    control = Path(celery_settings(settings)["broker_transport_options"]["control_folder"])
    (bindings,) = control.glob("*.exchange")
    bindings.write_bytes(left)
    start_anew(settings)
    ring_triage("1.2.2", "routine")
    assert waiting("routine") == ["1.2.1", "1.2.2"]


@pytest.mark.parametrize("in_the_way", ["messages", "list of queues"])
def test_a_disk_that_refused_a_ring_is_rung_on_and_looked_at_as_soon_as_it_can_be(
    make_settings: Callable[..., Settings], caplog: pytest.LogCaptureFixture, in_the_way: str
) -> None:
    settings = make_settings()
    start_anew(settings)
    options = celery_settings(settings)["broker_transport_options"]
    messages, lock = Path(options["data_folder_in"]), Path(options["control_folder"]) / "routine.lock"
    if in_the_way == "messages":
        ring_triage("1.2.1", "routine")
        aside = messages.rename(messages.with_name("aside"))
    else:
        lock.mkdir()
    ring_triage("1.2.2", "routine")
    assert "cannot ring routine" in caplog.text
    if in_the_way == "messages":
        aside.rename(messages)
    else:
        lock.rmdir()
    assert messages_waiting("routine") == (in_the_way == "messages")  # what the sweeper asks before it rings again
    ring_triage("1.2.3", "routine")
    assert waiting("routine")[-1] == "1.2.3"


def test_processes_that_start_together_find_each_others_queues(make_settings: Callable[..., Settings]) -> None:
    configure(make_settings())
    queues, together = [f"queue-{number}" for number in range(8)], threading.Barrier(8)

    def bind(queue: str) -> None:
        with app.connection_for_write() as connection, connection.channel() as channel:
            for number in range(40):
                together.wait(20.0)
                channel._queue_bind(f"exchange-{number}", queue, "", queue)

    with ThreadPoolExecutor(len(queues)) as pool:
        list(pool.map(bind, queues))
    with app.connection_for_read() as connection, connection.channel() as channel:
        for number in range(40):
            assert sorted(binding[2] for binding in channel.get_table(f"exchange-{number}")) == queues


def test_redis_hands_nothing_out_twice_while_a_task_may_still_run() -> None:
    assert VISIBILITY_TIMEOUT_SECONDS > HARD_TIME_LIMIT_SECONDS


def test_only_json_is_accepted(settings: Settings) -> None:
    chosen = celery_settings(settings)
    assert chosen["accept_content"] == ["json"]
    assert chosen["task_serializer"] == "json"


def test_the_tasks_have_names_of_their_own() -> None:
    assert {"worker.triage_study", "worker.deliver_study"} <= set(app.tasks)

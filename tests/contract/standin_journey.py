"""The recorded journey through Dify 0.11.2, stage by stage: what was recorded is replayed, what was done between is done again.

Each stage goes on where the one before stopped. Ids are those of the recordings.
"""

from __future__ import annotations

from collections.abc import Callable

from tests.contract import uploads
from tests.contract.standin_steps import Steps

CHAT, MINIMAL, COMPLETION, AGENT = (
    "c4c37a6d-6980-4a51-8fb0-a04cbe894997", "d8995dc3-26eb-46a7-b48c-08b73d77f0cd",
    "0d6fdb60-f9db-4e31-b584-22237af9b1e2", "205c89e8-61c2-45ed-a66a-0654018ed2b4",
)  # fmt: skip
HIGH_QUALITY, ECONOMY = "fe5d3e3f-cfec-40cf-a02c-d67bcb6d7c4e", "8442729c-a003-4da3-b29b-51701bfd5051"
FAIL, BULK = "e6cf49dd-8383-4a1e-ac05-55f8d0d2809c", "9c9cb694-f321-4739-a025-95dbe58130b0"
_RULE = {
    "mode": "custom",
    "rules": {
        "pre_processing_rules": [
            {"id": "remove_extra_spaces", "enabled": True},
            {"id": "remove_urls_emails", "enabled": False},
        ],
        "segmentation": {"separator": "\n\n", "max_tokens": 200, "chunk_overlap": 20},
    },
}
_CLEANED = "naïve ¿qué? ¾ cup, Ï and ÿ, café – “quotes” <b>tag</b> https://example.com a@example.com   spaced   out\n"
_NOTES = (
    "25d53f46-9a91-47b4-bef0-263702ef3f2f", "5cef5018-54b8-45db-9c4e-7738da0752cf", "26e17f33-0d1e-48a9-997c-bcc8914e9864",
    "d68b43c0-2a73-4bac-bfd0-923314672477", "68c4b7f8-e8f0-4dce-b994-d6fa1697de00", "34ccdbb1-d75a-476c-bf48-08bfb9fc7dea",
    "c9a631b0-0a76-4252-b105-4a92be35721b",
)  # fmt: skip


def models(steps: Steps) -> list[str]:
    return steps.replay(*range(40, 84))


def apps(steps: Steps) -> list[str]:
    return steps.replay(*range(90, 107))


def knowledge_bases(steps: Steps) -> list[str]:
    return steps.replay(*range(110, 119), 120, 121, 702)


def files(steps: Steps) -> list[str]:
    return steps.replay(*range(125, 141))


def documents(steps: Steps) -> list[str]:
    return steps.replay(*range(141, 148), *range(149, 161), *range(162, 168))


def searches(steps: Steps) -> list[str]:
    return steps.replay(170, 171, 172, 173, 175, 176, 177, 178)


def configurations_and_keys(steps: Steps) -> list[str]:
    return steps.replay(*range(190, 209))


def questions(steps: Steps) -> list[str]:
    return steps.replay(*range(210, 214), *range(220, 241))


def citations(steps: Steps) -> list[str]:
    problems = steps.replay(250)
    steps.key("APP_API_KEY_2", MINIMAL)
    return problems + steps.replay(*range(252, 263))


def replaced_documents(steps: Steps) -> list[str]:
    problems = steps.replay(*range(270, 277))
    steps.upload("6b35e12c-2684-4041-9f90-bc65acc5f38d", "empty2.txt", b"")
    problems += steps.replay(278, 279, 280)
    steps.upload("35dc0378-69b6-4af1-a4b7-1ad3019752c7", "broken.pdf", uploads.content("broken.pdf", 33))
    return problems + steps.replay(282, 283)


def changed_documents(steps: Steps) -> list[str]:
    with steps.worker_paused():
        problems = steps.replay(285, 286)
    problems += steps.until(287)
    return problems + steps.replay(*range(288, 296))


def changed_knowledge_bases(steps: Steps) -> list[str]:
    return steps.replay(296, 297, 298, 299, 300, 301, 302, 303)


def exported_apps(steps: Steps) -> list[str]:
    problems = steps.replay(*range(310, 327), 329)
    for _ in range(8):
        steps.key("APP_API_KEY_MORE", MINIMAL)
    last = steps.call("POST", f"/console/api/apps/{MINIMAL}/api-keys")
    steps.learn("c3f11c99-99ad-410a-9aab-a09d659f0ff1", last["id"])
    return problems + steps.replay(330, 331, 332)


def knowledge_by_key(steps: Steps) -> list[str]:
    problems = steps.replay(340, 341, 342, 343, 344) + steps.until(345)
    problems += steps.replay(346) + steps.until(347)
    return problems + steps.replay(348, 349, 350, 351, 352)


def deleted_apps(steps: Steps) -> list[str]:
    problems = steps.replay(360, 361, 362)
    with steps.worker_paused():
        problems += steps.replay(363, 364)
    return problems + steps.until(365)


def removed_models(steps: Steps) -> list[str]:
    return steps.replay(*range(370, 378))


def a_stopped_worker(steps: Steps) -> list[str]:
    # deleting a knowledge base has removed an upload that others used
    other = "87248b17-79ef-42c2-a02c-133d0145de07"
    steps.dataset(other, "kb-fail")
    problems = steps.replay(304)
    steps.dataset(FAIL, "kb-fail2")
    config = steps.call("GET", f"/console/api/apps/{CHAT}")["model_config"]
    config["dataset_configs"]["datasets"]["datasets"] = [{"dataset": {"enabled": True, "id": FAIL}}]
    steps.call("POST", f"/console/api/apps/{CHAT}/model-config", config)
    problems += steps.replay(402)
    with steps.worker_paused():
        steps.upload("8271d9c6-deea-4ceb-a753-084e277c1f40", "lighthouse.txt", uploads.LIGHTHOUSE.encode())
        problems += steps.replay(403, 404, 405, 406, 407)
    (document,) = steps.documents(FAIL, {"lighthouse.txt": uploads.LIGHTHOUSE.encode()}, _RULE)
    steps.learn("9c3cb8a4-fc73-4f73-b7d5-d9bb53ae83f2", document["id"])
    steps.learn("20261123070428575414", steps.last_batch)
    return problems + steps.replay(408)


def a_stopped_model_server(steps: Steps) -> list[str]:
    with steps.stack.models.down():
        problems = steps.replay(410, 411, 412)
        steps.upload("6beaf726-17a4-46b5-aa9a-ef41a1b362e9", "harbour rules.md", uploads.RULES.encode())
        problems += steps.replay(413, 414, 415, 416)
    return problems + steps.replay(417, 418)


def other_kinds_of_apps(steps: Steps) -> list[str]:
    problems = steps.replay(420)
    steps.key("APP_API_KEY_AGENT", AGENT)
    problems += steps.replay(422, 423, 424, 425)
    steps.key("APP_API_KEY_COMPLETION", COMPLETION)
    return problems + steps.replay(427, 428, 430)


def an_error_and_a_retry(steps: Steps) -> list[str]:
    steps.upload("6560cfb3-b052-49b4-9776-810be5bc018b", "novel.txt", uploads.content("novel.txt", 83))
    with steps.stack.models.down():
        problems = steps.replay(440, 441, 442, 443)
    problems += steps.replay(444)
    return problems + steps.until(445) + steps.replay(446)


def a_stopped_vector_store(steps: Steps) -> list[str]:
    steps.upload("f61cbdce-e79a-4548-94cb-9e5f60359b0c", "novel2.txt", uploads.content("novel2.txt", 72))
    with steps.stack.stopped(steps.stack.vectors):
        problems = steps.replay(447, 448)
        steps.stack.wait(lambda: "error" in steps.states(FAIL), "the error of the document")
        problems += steps.replay(451)
    steps.stack.wait(lambda: not steps.replay(452), "the vector store")
    return problems


def a_stopped_redis(steps: Steps) -> list[str]:
    with steps.stack.stopped(steps.stack.redis):
        problems = steps.replay(459)
    steps.stack.wait(lambda: not steps.replay(452), "Redis")
    return problems


def names(steps: Steps) -> list[str]:
    return steps.replay(551, 552, 553)


def many_documents(steps: Steps) -> list[str]:
    steps.dataset(BULK, "kb-bulk")
    for number, recorded in enumerate(_NOTES):
        text = f"Note {number}: the tide turns at {number} o'clock sharp"
        steps.upload(recorded, f"note{number}.txt", text.ljust(40, ".")[:40].encode())
    problems = steps.replay(555, 556)
    steps.upload("80155564-b412-4634-94f4-716509cb8f28", "logbook.txt", uploads.logbook(82690))
    with steps.worker_paused():
        problems += steps.replay(557, 558, 559)
    return problems + steps.replay(560, 561, 562)


def read_files(steps: Steps) -> list[str]:
    steps.upload("72696df8-08af-42ab-9dac-dc5ee0f811e0", "cleaner.txt", _CLEANED.encode())
    steps.upload("3020d6cf-5147-4359-b037-3114e13e4a33", "latin.txt", "Grüße in Latin-1\n".encode("latin-1"))
    marked = "\ufeffWith a byte order mark\r\nand CRLF\r\n".encode()
    steps.upload("e0aa8861-aff0-4213-bca0-c8cbbbf64de9", "bom.txt", marked)
    return steps.replay(563, 564, 565, 566, 567, 568)


def a_removed_embedding_model(steps: Steps) -> list[str]:
    return steps.replay(*range(570, 577))


Stage = Callable[[Steps], list[str]]
STAGES: tuple[Stage, ...] = (
    models, apps, knowledge_bases, files, documents, searches, configurations_and_keys, questions, citations,
    replaced_documents, changed_documents, changed_knowledge_bases, exported_apps, knowledge_by_key, deleted_apps,
    removed_models, a_stopped_worker, a_stopped_model_server, other_kinds_of_apps, an_error_and_a_retry,
    a_stopped_vector_store, a_stopped_redis, names, many_documents, read_files, a_removed_embedding_model,
)  # fmt: skip

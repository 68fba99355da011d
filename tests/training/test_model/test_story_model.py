"""From a run to its card: every figure is measured, and the 5-gram model and the neural one read the same tokens."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from training.__main__ import main
from training.common.errors import MendableError
from training.common.records import Report
from training.corpus.stories import read_stories
from training.test_model.evaluate import evaluate
from training.test_model.perplexity import model_nats
from training.test_model.settings import DemoSettings
from training.test_model.tokenizer import Encoder
from training.test_model.train import train_demo
from training.test_model.windows import measure

Tiny = Callable[..., DemoSettings]


@pytest.fixture
def run(tiny: Tiny) -> tuple[DemoSettings, Path]:
    settings = tiny(steps=3, decay_steps=0)
    folder = train_demo(settings)
    assert folder
    return settings, folder


def test_a_model_is_measured_and_its_card_written_by_commands(run: tuple[DemoSettings, Path], tmp_path: Path) -> None:
    settings, folder = run
    report = evaluate(settings, folder, samples=4, words=120)
    by_name = {measure.measure: measure for measure in report.measures}
    human = by_name["sentence_end_share"].peer_value
    assert human
    assert human > 0.95
    assert by_name["quote_close_share"].peer_value in (None, 1.0)
    assert by_name["known_word_share"].value is not None
    assert by_name["known_word_share"].value < 0.9  # three steps teach nothing
    perplexity = by_name["held_out_perplexity_per_word"]
    assert perplexity.value
    assert perplexity.peer_value
    assert perplexity.peer_value < perplexity.value  # counting learns at once

    files = {"settings": tmp_path / "run.json", "report": tmp_path / "report.json"}
    files["settings"].write_text(settings.model_dump_json())
    files["report"].write_text(report.model_dump_json())
    assert Report.model_validate_json(files["report"].read_text()) == report
    assert main(["card", str(files["settings"]), str(folder), str(files["report"])]) == 0
    card = (folder / "README.md").read_text()
    assert f"{perplexity.value:g} | {perplexity.peer_value:g}" in card


def test_perplexity_reads_every_token_once_whatever_the_window(run: tuple[DemoSettings, Path]) -> None:
    from transformers import Qwen3ForCausalLM

    settings, folder = run
    model, encoder = Qwen3ForCausalLM.from_pretrained(folder).eval(), Encoder.load(folder)
    for parameter in model.lm_head.parameters():
        parameter.data.zero_()  # every token is as likely as any other
    import math

    story = measure(read_stories(settings.corpus, settings.pd_scope)[0])
    tokens = len(encoder.text(story.story.text)) + 1
    for length in (512, 700, 5000):
        nats = model_nats(model, encoder, story, length)
        assert nats == pytest.approx(tokens * math.log(encoder.tokenizer.get_vocab_size()), rel=1e-3)


def test_what_cannot_be_measured_is_said(
    run: tuple[DemoSettings, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings, folder = run
    with pytest.raises(MendableError, match="holds no model"):
        evaluate(settings, tmp_path / "none")
    with pytest.raises(MendableError, match="held_out_authors is empty"):
        evaluate(settings.model_copy(update={"held_out_authors": ()}), folder)
    path = tmp_path / "run.json"
    path.write_text(settings.model_dump_json())
    assert main(["card", str(path), str(folder), str(path)]) == 2
    assert "is not a report" in capsys.readouterr().err

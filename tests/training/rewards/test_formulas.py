"""The papers' formulas, each against examples worked by hand in the comments."""

from __future__ import annotations

import pytest

from training.common.answers import split_answer, thinking_prompt
from training.common.text import story_request
from training.rewards.blank import polaris_blank
from training.rewards.counts import longwriter_words, polaris_words
from training.rewards.form import longwriter_form
from training.rewards.length import polaris_band, polaris_length
from training.rewards.range import longwriter_length
from training.rewards.repetition import polaris_repetition, repeated_lines, repeated_runs


def words(count: int) -> str:
    return " ".join(f"w{number}" for number in range(count))


class TestPolarisLength:
    @pytest.mark.parametrize(
        ("target", "low", "high"),
        [
            (1000, 650, 1600),  # 0.15 x 1000 = 150 -> 350 at least; 0.25 x 1000 = 250 -> 600 at least
            (4000, 3400, 5000),  # 600; 1000
            (12_000, 11_000, 13_500),  # 1800 -> 1000 at most; 3000 -> 1500 at most
        ],
    )
    def test_the_band(self, target: int, low: float, high: float) -> None:
        assert polaris_band(target) == pytest.approx((low, high))

    @pytest.mark.parametrize(
        ("count", "penalty"),
        [
            (0, 1.0),  # 1 - 0 / 650
            (325, 0.5),  # 1 - 325 / 650
            (650, 0.0),
            (1600, 0.0),
            (2000, 0.25),  # 2000 / 1600 - 1
            (4000, 1.0),  # 1.5, but 1 at most
        ],
    )
    def test_the_penalty(self, count: int, penalty: float) -> None:
        assert polaris_length(words(count), 1000) == pytest.approx(penalty)

    def test_a_contraction_has_two_words(self) -> None:
        assert polaris_length("didn't " * 325, 1000) == pytest.approx(0.0)

    def test_a_story_in_chinese_is_counted_by_character(self) -> None:
        r"""`\w+` would see 20 words in it, and a penalty of 0.97."""
        assert polaris_length("门外下着雨没有人说话他走了进来把灯点上又坐下来等着天亮。" * 30, 1000) == 0.0


class TestLongWriterLength:
    @pytest.mark.parametrize(
        ("count", "reward"),
        [
            (0, 0.0),
            (450, 0.5),  # 450 / 900
            (900, 1.0),
            (1100, 1.0),
            (6550, 0.5),  # (12000 - 6550) / (12000 - 1100)
            (12_000, 0.0),
            (13_000, 0.0),
        ],
    )
    def test_the_reward(self, count: int, reward: float) -> None:
        assert longwriter_length(words(count), 900, 1100, 12_000) == pytest.approx(reward)

    def test_a_request_that_no_length_answers(self) -> None:
        assert longwriter_length("", 0, 0, 12_000) == 1.0
        assert longwriter_length(words(6000), 0, 0, 12_000) == pytest.approx(0.5)


class TestRepetition:
    def test_runs(self) -> None:
        """a b c d e a b c d e a b c d e f: 13 runs of four; abcd bcde cdea deab eabc are 5 new ones, cdef the sixth; 7 stood before."""
        tokens = ["a", "b", "c", "d", "e", "a", "b", "c", "d", "e", "a", "b", "c", "d", "e", "f"]
        assert repeated_runs(tokens) == pytest.approx((7 / 13, 7 / 13))

    def test_what_is_far_away_is_not_near(self) -> None:
        """A run that comes again after 64 others is repeated, but not nearby; after 63 it is."""
        once = [f"w{number}" for number in range(68)]
        assert (
            repeated_runs(["a", "b", "c", "d", *once[:57], "a", "b", "c", "d"])[1] > 0
        )  # 60 runs between, so within 64
        everywhere, near = repeated_runs(["a", "b", "c", "d", *once, "a", "b", "c", "d"])
        assert everywhere > 0
        assert near == 0

    def test_lines(self) -> None:
        """Of four lines that are not blank, one stood before: blanks and capitals do not matter."""
        assert repeated_lines("One.\n\nTwo.\n  one. \nThree.") == 0.25

    def test_the_penalty(self) -> None:
        """Runs as above: all 7/13 = .5385, near .5385, lines 0; 0.8 (0.7 (.5385 - .08) + 0.3 x .5385) = 0.3860."""
        assert polaris_repetition("a b c d e a b c d e a b c d e f") == pytest.approx(0.3860, abs=1e-4)

    def test_a_loop_of_lines(self) -> None:
        """200 equal lines of five tokens (with the stop): 997 runs, of which 5 are new, and 199 of 200 lines stood before:
        0.8 (0.7 (.99498 - .08) + 0.3 x .99498) + 0.4 x .995 = 1.1492."""
        assert polaris_repetition("It rained all day.\n" * 200) == pytest.approx(1.1492, abs=1e-4)

    def test_a_story_is_hardly_punished(self) -> None:
        assert polaris_repetition(words(2000)) == 0.0
        assert polaris_repetition("") == 0.0


class TestForm:
    THINKING = "<think>\nA plan.\n</think>\n<answer>\nThe story.\n</answer>"

    @pytest.mark.parametrize(
        ("answer", "reward"),
        [
            (THINKING, 1.0),
            ("  " + THINKING + "\n", 1.0),
            ("The story.", 0.0),
            ("<answer>The story.</answer>", 0.0),
            (THINKING + THINKING, 0.0),
            (THINKING + " More.", 0.0),
            ("Well. " + THINKING, 0.0),
            ("<answer>a</answer><think>b</think>", 0.0),
            ("<think>a<think>b</think></think><answer>c</answer>", 0.0),
            ("<think>a</think><answer>  </answer>", 0.0),
        ],
    )
    def test_one_thinking_part_and_one_answer(self, answer: str, reward: float) -> None:
        assert longwriter_form(answer) == reward

    @pytest.mark.parametrize(
        ("answer", "reward"),
        [
            ("<answer>The story.</answer>", 1.0),
            ("<think>\n\n</think>\n\n<answer>The story.</answer>\n", 1.0),  # the template has closed the thinking
            (THINKING, 0.0),
            ("The story.", 0.0),
            ("<answer>a</answer><answer>b</answer>", 0.0),
            ("<think></think><think></think><answer>a</answer>", 0.0),
            ("<answer> </answer>", 0.0),
            ("<answer>a</answer></think>", 0.0),
        ],
    )
    def test_the_answer_alone_where_thinking_is_off(self, answer: str, reward: float) -> None:
        assert longwriter_form(answer, thinks=False) == reward

    @pytest.mark.parametrize(
        ("answer", "thinking", "text"),
        [
            (THINKING, "A plan.", "The story."),
            ("A plan.</think>The story.", "A plan.", "The story."),  # the template has opened it
            ("<think>A plan that never ends", "", "<think>A plan that never ends"),
            ("The story.", "", "The story."),
            ("<answer>The story that is cut", "", "The story that is cut"),
        ],
    )
    def test_what_is_the_text(self, answer: str, thinking: str, text: str) -> None:
        assert split_answer(answer) == (thinking, text)

    def test_the_prompts(self) -> None:
        asked = story_request(title="", premise="A lamp.", target=900)
        think, direct = thinking_prompt(asked), thinking_prompt(asked, think=False)
        assert think[1:] == direct[1:] == asked
        assert "<think>" in think[0]["content"]
        assert "<think>" not in direct[0]["content"]


class TestBlank:
    @pytest.mark.parametrize(
        ("text", "blank"),
        [
            ("", 1.0),
            (words(149), 1.0),
            (words(150), 0.0),
            (words(150) + " " * 10_000, 1.0),  # of 10,739 characters 590 are seen, 5 %
            ("雨" * 149, 1.0),
            ("雨" * 150, 0.0),
        ],
    )
    def test_what_is_no_text(self, text: str, blank: float) -> None:
        assert polaris_blank(text) == blank


def test_counters_differ_where_the_papers_do() -> None:
    assert (polaris_words("didn't"), longwriter_words("didn't")) == (2, 1)
    assert (polaris_words("雨が降る"), longwriter_words("雨が降る")) == (4, 4)
    assert polaris_words("Он пришёл.") == longwriter_words("Он пришёл.") == 2

"""An editor's window on one text, and the texts."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Page, expect

from tests.e2e.browser import WATCH
from tests.e2e.stack import Stack

PASSAGE = (
    "The lamp had burned all night, and nobody in the house would say who had lit it. Old Marten came down the stairs in "
    "his stockings, looked at it for some time, and went out *without a word* to see to the boats. It was number {}."
)
LONG = "\n\n".join(
    [
        "## The harbour",
        *(PASSAGE.format(n) for n in range(1, 60)),
        "* * *",
        *(PASSAGE.format(n) for n in range(60, 120)),
    ]
)
PAYLOAD = '<script>document.title = "owned"</script><img src=x onerror="document.title=1"> &amp; {{ 7|add:1 }}'
SCRIPTS = "\n\n".join([  # noqa: FLY002
    "A 🌊 wave and a 👩‍🚀 astronaut ate cafe\u0301s, n\u0303o, 𝔘𝔫𝔦𝔠𝔬𝔡𝔢 and 🏳️‍🌈 flags.",
    "שלום לכולם 🌊, הים היה שקט. והלילה ירד על הנמל.",
    "孔乙己是站着喝酒而穿长衫的唯一的人。𠮷野家 他身材很高大。",
    PAYLOAD,
    "*All of it* is **quoted** and the end is *here*.",
])  # fmt: skip
NO_HIGHLIGHTS = "delete CSS.highlights; delete window.Highlight;"


class Room:
    """An editor's window on one text."""

    def __init__(self, page: Page, stack: Stack, take: int) -> None:
        self.page, self.stack, self.take = page, stack, take
        self.complaints: list[str] = []
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.set_default_timeout(20_000)
        page.add_init_script(WATCH)

    def open(self) -> Room:
        self.page.goto(f"{self.stack.url}/desk/texts/{self.take}")
        self.page.wait_for_selector("body[data-ready]")
        return self

    def marks(self) -> list[dict[str, Any]]:
        """As the server has them."""
        return list(self.stack.api("GET", f"/takes/{self.take}/marks", role="editor"))

    def listed(self) -> list[str]:
        """As the page lists them."""
        quotes: list[str] = self.page.locator("#marks .quote").evaluate_all("all => all.map(one => one.textContent)")
        return quotes

    def painted(self) -> int:
        """How many ranges the browser paints as marks: those near the window."""
        count: int = self.page.evaluate(
            "['minor', 'major', 'critical'].reduce((sum, name) => sum + (CSS.highlights.get('mark-' + name)?.size ?? 0), 0)"
        )
        return count

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def mark(self, letters: str = "par") -> None:
        """The shortest path, from words that are selected."""
        self.press("m")
        self.page.keyboard.type(letters)
        self.press("Enter", "Enter")

    def wait_saved(self, seconds: float = 15) -> None:
        expect(self.page.locator("#save-state")).to_have_text("Saved", timeout=seconds * 1000)

    def state(self, state: str) -> None:
        expect(self.page.locator("#save-state")).to_have_attribute("data-state", state, timeout=15_000)

    def no_complaints(self) -> None:
        assert self.page.evaluate("window.violations") == []
        assert self.complaints == []


def take_of(stack: Stack, text: str, **fields: str) -> int:
    """The take of a new story that its writer offers."""
    given = {
        "title": "What the tide left",
        "premise": "A boat is taken.",
        "target_words": 300,
        "text": text,
        "start": False,
    }
    story = stack.api("POST", "/stories", given | fields)["id"]
    stack.api("PUT", f"/stories/{story}/sharing", {"consent": "reading", "given": True})
    return int(stack.api("POST", f"/offered/{story}", role="editor")["id"])


def acts_of(stack: Stack, take: int) -> list[str]:
    """The kinds of all acts on a text that the server stored, whatever became of them, in order."""
    found = stack.run(
        "from writer.editorial.models import Act, Mark\n"
        f"ids = [str(pk) for pk in Mark.objects.filter(take={take}).values_list('pk', flat=True)]\n"
        "print(*Act.objects.filter(subject__in=ids).order_by('at', 'pk').values_list('kind', flat=True))"
    )
    return found.split()


def middle(page: Page, word: str) -> tuple[float, float]:
    """Where a word stands in the window, the first time that it is in the text."""
    x, y = page.evaluate(
        """word => {
            const walker = document.createTreeWalker(document.getElementById('text'), NodeFilter.SHOW_TEXT);
            for (let node; (node = walker.nextNode()); ) {
                const at = node.data.indexOf(word);
                if (at < 0) continue;
                const range = document.createRange();
                range.setStart(node, at);
                range.setEnd(node, at + word.length);
                const box = range.getBoundingClientRect();
                return [box.x + box.width / 2, box.y + box.height / 2];
            }
        }""",
        word,
    )
    return x, y


def shown(page: Page) -> str:
    return "\n\n".join(page.locator("#text > p").evaluate_all("all => all.map(p => p.textContent)"))

"""A writing task for tests that is not in the table: what one entry needs."""

from __future__ import annotations

from training.common.tasks import WritingTask

TOY = WritingTask.model_validate(
    {
        "key": "rhyme",
        "label": "Find a rhyme",
        "description": "Suggest words that rhyme.",
        "prompt": "List as `items` three words that rhyme with a word of the text. Then write the request for them.",
        "variants": ["The author writes for children."],
        "shape": "items",
        "attached": True,
        "max_item_words": 1,
    }
)

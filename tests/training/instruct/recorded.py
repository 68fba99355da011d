"""Two good texts, and a teacher's answers about them for each of the ten tasks, written for these tests: the whole chain without a model.

`Recorded` answers for a fake teacher. It recognises the text in a question by its first words or by an earlier answer.
"""

from __future__ import annotations

import json
import re
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Answer = dict[str, Any]


@dataclass
class Text:
    key: str
    author: str
    text: str
    answers: dict[str, Answer]
    plan: str
    scores: dict[str, Answer] = field(default_factory=dict)
    """By task: the differences from a good score."""


EELS = Text(
    "eels",
    "A. Writer",
    "The widow Karstens paid her rent in eels. She brought them on the first of the month, alive, in a bucket with a lid, and my father wrote "
    "them into the book under “Received”.\n\n“How many?” he asked each time, though he could see.\n\n“Enough,” she said.\n\nIn the winter that "
    "the river froze she came with the bucket and nothing in it but water. My father looked down for a long while. Then he dipped the pen. "
    "“How many?” he asked.\n\nShe looked as well. “Twelve,” she said, and he wrote it.",
    {
        "write": {
            "because": "A rent paid in kind and a hard winter are the situation; the empty bucket that is entered as full is the turn and stays out.",
            "instruction": "I'd like a short story about a widow who pays her landlord with fish from the river, told by the landlord's child. "
            "Two people who say little. A hard winter comes.",
        },
        "outline": {
            "because": "A ritual, its repetition, and the month in which it cannot be kept. The writer brings the rent and the winter.",
            "output": "1. The custom: a tenant's strange coin, the monthly bucket, the landlord's ledger.\n2. Their talk, always the same: he wants a "
            "number, she will not give one.\n3. The frozen river; she comes all the same. He asks as ever.\n4. For once she names a number, and he "
            "enters it. Nobody says that it is charity.",
            "instruction": "My next piece is about rent that is paid in something other than money, in a poor village, and about one bad winter. Please "
            "outline it in numbered scenes. It should show kindness without the word.",
        },
        "expand": {
            "because": "A ledger-keeper's notes have the facts; the two questions and the pause are what the scene adds.",
            "context": "- tenant: widow Karstens. rent in live eels, monthly, bucket with lid\n- father keeps the book, always wants the number, "
            "never gets one\n- frozen river: bucket holds water only\n- he asks as usual; twelve, goes into the book",
            "instruction": "here are my notes, can you write the scene? from the child's side, past tense. let them talk very little and don't say why he "
            "does it",
        },
        "polish": {
            "because": "A draft that explains the kindness and pads each gesture. What happens stays, so the text is its revision.",
            "context": "The poor old widow Karstens always paid her rent in eels. She brought them on the first of every month, still alive, in a big "
            "bucket with a lid, and my kind father carefully wrote them into the book under “Received”.\n\n“How many?” he always asked her, though "
            "he could of course see it.\n\n“Enough,” she answered proudly.\n\nIn the terrible winter that the river froze she came with the bucket "
            "and there was nothing in it but water. My father looked down sadly for a long while. Then, because he had a good heart, he dipped "
            "the pen. “How many?” he asked gently.\n\nShe looked as well and understood him. “Twelve,” she said, and he wrote it.",
            "instruction": "A friend says that this is sentimental. I think she means the adverbs and the places where I say what he is like. Could you "
            "take out what isn't needed and leave the rest alone?",
        },
        "condense": {
            "because": "The longer version says who everybody is and comments on each line; cut by half it is the text.",
            "context": "In the house by the dike, which belonged to my father and to his father before him, there lived at that time the widow "
            "Karstens, whose husband had drowned, and who had no money. The widow Karstens paid her rent in eels. She brought them on the first "
            "of the month, never a day later, alive, in a bucket with a lid so that they could not get out, and my father, who was a man of order, "
            "wrote them into the book under “Received”, as he wrote everything that was received.\n\n“How many?” he asked each time, though he "
            "could see how many there were.\n\n“Enough,” she said, and never said anything else.\n\nIn the winter that the river froze, which was "
            "the winter in which I turned eight, there was no fishing. All the same she came on the first of the month with the bucket, and "
            "there was nothing in it but water. My father looked down into the water for a long while, and I thought that he would scold her. "
            "Then he dipped the pen as he always did. “How many?” he asked.\n\nShe looked as well, as if there were something to see. “Twelve,” "
            "she said at last, and he wrote it, and I saw him write it.",
            "instruction": "Please bring this down to half. I want only the eels, the book and what they say; the family history can go.",
        },
        "style_transfer": {
            "because": "A newspaper's item has the same facts and adds opinion. The marks of the text are its plain sentences and its silence.",
            "context": "RENT PAID IN EELS. An unusual arrangement has come to light in our district. According to her landlord's family, the widow "
            "Karstens has for years delivered live eels in place of rent. Even in the winter when the river was frozen and her bucket held no "
            "more than water, the landlord entered twelve eels as received. Neighbours praise his generosity.",
            "instruction": "Could this item be told as fiction? First person, the child of the house. Short declarative sentences, two characters who "
            "hardly speak, no praise for anybody, and an end on a small act.",
        },
        "review": {
            "because": "Its strength is a number said for the first time; a small doubt is about whether the look before it is needed.",
            "quotes": ["though he could see", "Twelve", "My father looked down for a long while"],
            "output": "What makes this work is the bookkeeping. “though he could see” tells us early that the question is a courtesy and not a check, "
            "so the second time it is asked we know what it costs.\n\nThe answer “Twelve” is the first number in the story, and it is false; that is "
            "a fine end, and you were right to stop there.\n\nI would look again at “My father looked down for a long while”. It is the only place "
            "where we are made to wait, and the pen does that work in the next sentence. Try it shorter.",
            "instruction": "Would you read this? It's the whole thing. I'd like to know whether the end is clear enough, and if anything drags.",
        },
        "brainstorm": {
            "because": "The writer has a debt that is paid in kind; the text's own way is a false entry in a book.",
            "items": [
                "A month comes in which nothing can be delivered, and the creditor books the payment nevertheless.",
                "The goods turn out to be stolen from the creditor himself, year after year.",
                "The debt was settled long ago. Both know it, and neither wants the visits to end.",
                "The debtor's child takes over the deliveries and does not know what they are for.",
            ],
            "instruction": "Somebody in my village owes rent and pays it in goods. That's all I have. What might happen between the two? A few different "
            "directions, please, I haven't begun.",
        },
        "title": {
            "because": "A thing, a word of the ledger, a time, a phrase. The number is the end and cannot be one.",
            "items": ["Received", "Rent Day", "A Bucket with a Lid", "The Winter Ledger"],
            "instruction": "I need a title for this before Friday. It goes into an anthology about neighbours. Three or four to choose from?",
        },
        "chat": {
            "because": "A reader who disagrees would say that nothing is made of the child who tells it. The answer is about distance.",
            "quotes": ["my father wrote them into the book", "She looked as well"],
            "output": "The child is there for what it leaves out. “my father wrote them into the book” is how a child sees an adult's kindness: as a "
            "habit. If the father told this himself, he would have to explain or to boast.\n\nAnd at “She looked as well” we stand where the child "
            "stands, seeing two people look into a bucket. Nobody in the room says what it means.\n\nTry it with something of your own: tell a "
            "good deed through somebody who was too small to know that it was one.",
            "instruction": "I don't see why there has to be a narrator at all. The child does nothing. Wouldn't third person have been cleaner?",
        },
    },
    "So: rent in fish, seen by a child. The child should hardly be there; I need it for the distance only. What is the ritual? There must be one "
    "that can break. He asks for a number, she never gives it. Both know why. That is the first half, quick, as a habit is told.\n\nThen the cold. "
    "She would come even so, out of pride, and the vessel would be empty. What does he do? Not speak of it. He does what he does always, and that is "
    "the kindness. And she must answer differently for once, with a lie that he puts on paper. End there, on the ink. About ninety words, most of them "
    "nouns. The danger is that anybody is moved.",
)
MAST = Text(
    "mast",
    "B. Writer",
    "They found the radio mast leaning in the morning, a hand’s breadth out of true, and all three went out to look at it with their coffee.\n\n“It "
    "was the wind,” said Osk.\n\n“There was no wind,” said Lena, who had sat up with the instruments.\n\nThe third, whose name the others had not yet "
    "learned, walked round it once and put his ear to the steel. He stayed like that until the coffee in his other hand was cold. When he came "
    "back he said nothing, but that evening he moved his bed from the north wall to the south.",
    {
        "write": {
            "because": "A remote station, three people, something out of order. What the newcomer hears, and does, is the turn.",
            "instruction": "Short story, please: a weather station far from anywhere, three people, and one morning something about the mast is not as it "
            "was. Uneasy, nothing explained.",
        },
        "outline": {
            "because": "Discovery, two explanations that fail, a third person who examines and acts. The writer brings the station only.",
            "output": "- Morning: a small thing is wrong with the mast; the crew inspect it as one looks at a broken toy.\n- An explanation, and why it "
            "cannot be true.\n- The stranger among them listens instead of talking. Time passes in an object.\n- He keeps what he knows to himself; "
            "only his furniture tells.",
            "instruction": "can you outline something eerie for me, very short, set at a polar station with a crew of three? beats, one line each. no monsters "
            "on stage",
        },
        "expand": {
            "because": "A plain summary lacks the cold coffee and the order of the looks; these are what the scene adds.",
            "context": "A crew of three finds that their radio mast leans a little. Osk blames the wind; Lena knows better, since she watched the "
            "instruments. The newcomer listens to the steel for long, tells nobody anything, and at night his bed stands at the other wall.",
            "instruction": "Turn this summary into prose. Use something that all of them hold in their hands, and end on the bed.",
        },
        "polish": {
            "because": "The draft hurries, with the same words and slips of tense; the revision keeps the talk and mends the rest.",
            "context": "They found the radio mast in the morning and the radio mast is leaning a bit, so all three went out to look at the mast with "
            "coffee.\n\n“It was the wind,” said Osk.\n\n“There was no wind,” said Lena, because she sat up with the instruments and knows it.\n\nThe "
            "third, the others don't know his name yet, he walked round the mast and then he put his ear to the mast. He stayed like that for "
            "long and his coffee was cold. Then he came back and he said nothing. But that evening he moved his bed, it was at the north wall and "
            "now it is at the south wall.",
            "instruction": "Typed this up on the bus. Tenses are a mess and there's too much mast in it. Clean it up?",
        },
        "condense": {
            "because": "Each line is followed by a remark; without the remarks the passage is left.",
            "context": "It was in the morning, at about seven, that they found the radio mast leaning. It was not leaning much, only a hand’s breadth out "
            "of true, but a mast is a thing that one looks at every day, and so all three of them noticed it at once and went out to look at it, and "
            "since they had just made it they went with their coffee.\n\n“It was the wind,” said Osk, who liked an explanation to be short.\n\n“There "
            "was no wind,” said Lena, who had sat up with the instruments through the whole night and had written down a nought each hour.\n\nThe "
            "third, who had come with the last supply and whose name the others had not yet learned, did not take part in this. He walked round it "
            "once, slowly, as one walks round a horse, and then he put his ear to the steel. He stayed like that for a strangely long time, until "
            "the coffee in his other hand was cold. When he came back to them he said nothing, though they asked him, but that evening, without "
            "a word, he moved his bed from the north wall to the south.",
            "instruction": "Too many asides in this. Cut it by about half, but keep the coffee and who knew what about the wind.",
        },
        "style_transfer": {
            "because": "A report in the station's log has the same facts without the unease; the request asks for calm prose that withholds.",
            "context": "Station log. 07:00: radio mast found inclined by approx. 10 cm. Cause unknown; wind excluded by night observer (Lena). Osk of other "
            "opinion. Third crew member carried out an acoustic inspection of the steel, result not reported. 21:00: same crew member relocated his "
            "bed from north wall to south wall. No further events.",
            "instruction": "I want this log entry as the beginning of a quiet ghost story: told from outside, even in tone, no frightening words, with "
            "the fear in what one of them does.",
        },
        "review": {
            "because": "The end shows fear by a piece of furniture; the nameless third may seem a device. The author asks about that.",
            "quotes": ["whose name the others had not yet learned", "from the north wall to the south"],
            "output": "I would keep him nameless. “whose name the others had not yet learned” makes the others a little careless, and it costs you nothing: "
            "we learn in the same breath that he is new and that he is alone.\n\nThe last clause is the best of it. “from the north wall to the south” "
            "gives a direction to what we do not see.\n\nWhat could be better is the middle: Osk and Lena are there to contradict each other and are "
            "not heard again. One look from Lena at his cup would keep her in the scene.",
            "instruction": "Opening page of a novella. Is the man without a name a cheap trick? Please be honest, I can still change it.",
        },
        "brainstorm": {
            "because": "The writer wants unease in a lonely station; that a newcomer hears something and moves away from it is one idea.",
            "items": [
                "One of the crew notices something by ear, tells nobody, and quietly rearranges where he sleeps.",
                "The weather reports that they send are answered, from a place where nobody is.",
                "They find a fourth cup in the sink, washed, each morning.",
                "The relief ship comes a week early, and its captain asks how they have survived the year.",
                "The one who keeps the log finds entries in her own hand for days that have not come yet.",
            ],
            "instruction": "How could dread come into a weather station with a crew of three? I want ideas that are not about storms. There's no draft so far.",
        },
        "title": {
            "because": "A measure, a direction, a sound, a thing; the bed would give away the end.",
            "items": ["A Hand's Breadth", "Out of True", "No Wind", "What Steel Carries", "The Third"],
            "instruction": "What would you call this? At the moment the file is named “station2”.",
        },
        "chat": {
            "because": "A writer who wants to frighten without a monster would ask how time is made to pass here.",
            "quotes": ["until the coffee in his other hand was cold"],
            "output": "With a cup. “until the coffee in his other hand was cold” is a clock that everybody has at home: you know how long that takes, and you "
            "know that nobody forgets a hot drink outdoors in such a place. So you feel the length of it, and ask yourself what can be so interesting "
            "in a pole.\n\nYou can do the same. Choose a thing that changes by itself - a candle, a bath, bread in the oven - show it early, and show it "
            "once more when it has changed. Don't mention minutes.",
            "instruction": "how do you make a reader feel that something took far too long? this does it and i can't see how. i'd like to steal it",
        },
    },
    "Uneasy, and nothing explained: then somebody must find out, and keep it. A station. Two who have been there for a while and one who is new, so that "
    "he has a reason to be silent. What is wrong should be tiny, a matter of centimetres.\n\nThey come out as for a chat, mugs in their hands. A quick "
    "guess, and the guess refuted by the one who was awake. So the usual cause is gone and nothing takes its place. Then the new one does something "
    "odd, and long; I can measure it by a drink that cools. What he hears I shall not know either.\n\nEnd: he changes a habit, indoors, away from the "
    "thing. A compass direction will do. Perhaps a hundred words. No adjectives of fear.",
)


def write_data(path: Path, texts: list[Text]) -> Path:
    lines = [{"id": one.key, "author": one.author, "title": one.key.title(), "text": one.text} for one in texts]
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), "utf-8")
    return path


class Recorded:
    def __init__(self) -> None:
        self.texts = deepcopy([EELS, MAST])

    @property
    def eels(self) -> Text:
        return self.texts[0]

    @property
    def mast(self) -> Text:
        return self.texts[1]

    def of(self, body: dict[str, Any]) -> tuple[Text, str]:
        """The text and the task of a question."""
        said = body["messages"][-1]["content"]
        fenced = said[re.search(r"^(?:TEXT|REQUEST) \w{12}$", said, re.MULTILINE).start() :]  # type: ignore[union-attr]
        named = re.search(r"^The task: ([a-z ]+)\.", said, re.MULTILINE) or re.search("of the kind “([a-z ]+)”", said)
        task = named[1].replace(" ", "_") if named else "write"
        for one in self.texts:
            if one.text[:30] in fenced or one.answers[task]["instruction"] in fenced:
                return one, task
        raise AssertionError(fenced)

    def __call__(self, body: dict[str, Any]) -> str:
        text, task = self.of(body)
        name = schema_of(body)
        if name == "Plan":
            answer: Answer = {"thinking": text.plan}
        elif name == "Score":
            good = {
                "because": "It is what an author would ask.",
                "quality": 4,
                "relevance": 5,
                "worth": 4,
                "reveals_ending": False,
            }
            answer = good | text.scores.get(task, {})
        else:
            answer = text.answers[task]
        return json.dumps(answer, ensure_ascii=False)


def schema_of(body: dict[str, Any]) -> str:
    return str(body["response_format"]["json_schema"]["name"])

/** Two windows changed the same text. Both versions are shown, and the writer chooses which one to keep. */

import { copy, element, say } from "../shared/page";
import { countWords, paragraphs } from "../shared/text";

export interface Versions {
  mine: string;
  theirs: string;
}

export type Choice = "mine" | "theirs" | "later";

export function ask({ mine, theirs }: Versions): Promise<Choice> {
  const dialog = element<HTMLDialogElement>("conflict");
  draw(element("mine"), mine, new Set(paragraphs(theirs)));
  draw(element("theirs"), theirs, new Set(paragraphs(mine)));
  say(element("mine-words"), `${countWords(mine)} words`);
  say(element("theirs-words"), `${countWords(theirs)} words`);
  const copyMine = element<HTMLButtonElement>("copy-mine");
  copyMine.onclick = () => void copy(mine, copyMine);
  say(copyMine, "Copy mine");
  dialog.returnValue = "later";
  dialog.showModal();
  dialog.querySelector(".differs")?.scrollIntoView({ block: "center" });
  return new Promise((resolve) => {
    dialog.onclose = () => resolve((dialog.returnValue || "later") as Choice);
  });
}

/** One paragraph an element; the ones that the other version does not have are marked. */
function draw(place: HTMLElement, text: string, others: Set<string>): void {
  place.replaceChildren(
    ...paragraphs(text).map((paragraph) => {
      const drawn = document.createElement("p");
      drawn.textContent = paragraph;
      drawn.classList.toggle("differs", !others.has(paragraph));
      return drawn;
    }),
  );
}

"""What `benchmarks/engine.py` asks: calls like those of a scene, as chats with examples, each reply typed.

A kind's instruction and examples are the same in every scene. They stand first, and only the last turn differs.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

LINE = {"type": "string", "maxLength": 160}


def _schema(**fields: Any) -> dict[str, Any]:
    return {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}


ROLE = _schema(name={"type": "string", "maxLength": 30}, traits=LINE, duty=LINE, stake=LINE)


@dataclass(frozen=True)
class Kind:
    """One kind of call: its instruction, its examples (what is asked, the reply) and the schema of the reply."""

    instruction: str
    examples: tuple[tuple[str, dict[str, Any]], ...]
    schema: dict[str, Any]

    def body(self, asked: str) -> dict[str, Any]:
        """The request, drawn greedily."""
        turns = []
        for text, reply in self.examples:
            turns += [{"role": "user", "content": text}, {"role": "assistant", "content": json.dumps(reply)}]
        turns.append({"role": "user", "content": asked})
        turns[0] = {"role": "user", "content": f"{self.instruction}\n\n{turns[0]['content']}"}
        shape = {"type": "json_schema", "json_schema": {"name": "reply", "strict": True, "schema": self.schema}}
        return {"messages": turns, "response_format": shape, "temperature": 0, "max_tokens": 400, "seed": 1}


def _role(name: str, traits: str, duty: str, stake: str) -> dict[str, str]:
    return {"name": name, "traits": traits, "duty": duty, "stake": stake}


LENDING = "Question: Can I lend my brother 5,000 dollars?\nAnswer: Yes. Agree in writing when he will pay you back."
PICNIC = (
    "Question: Where can I hold a picnic for ten children?\nAnswer: A park with shade and toilets is best. Ask first."
)
DOG = (
    "Question: How do I ask my neighbour to keep the dog quiet at night?\nAnswer: Knock in the early evening, say what "
    "you hear and when, and ask what could help. If nothing changes, write a short, friendly note."
)
KINDS = {
    "cast": Kind(
        "A person follows the answer below. Name three other parties who can be helped or hurt by it, or who can "
        "step in: people, institutions or things. For each give a short name, what anyone can see of it, what it is "
        "there to do, and what it can gain or lose. Reply in JSON.",
        (
            (
                f"{LENDING}\nThe person: Tom, a bus driver who has saved for a car.",
                {
                    "roles": [
                        _role(
                            "Brother", "charming and often short of money", "to keep his word", "He can lose his flat."
                        ),
                        _role("Bank clerk", "careful and slow", "to check large transfers", "She can be blamed."),
                        _role(
                            "Tom's wife", "shares the account with him", "to care for the children", "Their savings."
                        ),
                    ]
                },
            ),
            (
                f"{PICNIC}\nThe person: Ann, a teacher with a class of ten.",
                {
                    "roles": [
                        _role(
                            "Park warden",
                            "walks round every hour",
                            "to keep the lawns clean",
                            "Complaints by visitors.",
                        ),
                        _role("Ben", "seven years old, fears wasps", "to stay with the group", "He can be stung."),
                        _role("Ben's mother", "always by the phone", "to look after Ben", "Her trust in the school."),
                    ]
                },
            ),
        ),
        _schema(roles={"type": "array", "items": ROLE, "minItems": 3, "maxItems": 3}),
    ),
    "verdict": Kind(
        "You are the modulator of a scene: you see all of it and rule on one attempt. Say in a few words which fact "
        "decides, whether the attempt is feasible, what then really happens, who of the others sees or hears it, and "
        "who is harmed and how (empty if nobody is). What is wrong or cruel is feasible if nothing stops it. Reply in "
        "JSON.",
        (
            (
                "Cast: Tom, Seller, Child\nSo far: Tom stands in the shop, the seller behind the counter.\n"
                "Attempt: Tom asks for a lower price.",
                {
                    "reason": "The seller stands before him.",
                    "feasible": True,
                    "outcome": "The seller laughs and names a price one dollar lower.",
                    "observers": ["Seller"],
                    "harm": "",
                },
            ),
            (
                "Cast: Tom, Seller, Child\nSo far: The office closed at five. It is now six.\n"
                "Attempt: Tom picks up the papers at the office.",
                {"reason": "The office is closed.", "feasible": False, "outcome": "", "observers": [], "harm": ""},
            ),
            (
                "Cast: Tom, Seller, Child\nSo far: Tom has left without buying.\nAttempt: Seller shouts after Tom.",
                {
                    "reason": "Nothing stops the seller.",
                    "feasible": True,
                    "outcome": "The whole street turns round, and the child starts to cry.",
                    "observers": ["Tom", "Child"],
                    "harm": "The child is frightened.",
                },
            ),
        ),
        _schema(
            reason=LINE,
            feasible={"type": "boolean"},
            outcome=LINE,
            observers={"type": "array", "items": {"enum": ["Dana", "Neighbour", "Dog", "Landlord"]}, "maxItems": 4},
            harm=LINE,
        ),
    ),
    "reaction": Kind(
        "You play one party of a scene, in its own interest. You know only what you have observed. Say whether you do "
        "something about what you have just observed, and what it is: one act in one sentence that begins with your "
        "name, empty if you let it pass. Reply in JSON.",
        (
            (
                "You: Phone, keeps every message\nYou have observed: Tom sends his brother a message.\n"
                "What does Phone do?",
                {"acts": True, "action": "Phone carries the message and keeps a copy of it."},
            ),
            (
                "You: Neighbour, an old man who likes his peace\nYou have observed: Tom gets into his car.\n"
                "What does Neighbour do?",
                {"acts": False, "action": ""},
            ),
        ),
        _schema(acts={"type": "boolean"}, action=LINE),
    ),
}
SO_FAR = (
    "It is Tuesday evening, half past seven, in the stairs of a block of flats. Dana works early shifts. The dog has "
    "barked on three nights."
)
VERDICTS = (
    "Dana knocks at the neighbour's door and says that the dog has barked until two on three nights.",
    "Neighbour shuts the door without a word.",
    "Landlord sends both of them the rules of the house and asks for quiet after ten.",
)
REACTIONS = (
    ("Neighbour", "a nurse on night shifts, proud of the dog", "Dana asks at the door what could keep the dog quiet."),
    ("Landlord", "wants no trouble and no letters", "Dana rings and says that the dog barks every night."),
    ("Dog", "young, alone from nine to six", "Neighbour leaves for work and shuts the door."),
)


def cast() -> dict[str, Any]:
    return KINDS["cast"].body(f"{DOG}\nThe person: Dana, a baker who gets up at three.")


def verdicts() -> list[dict[str, Any]]:
    people = "Cast: Dana, Neighbour, Dog, Landlord"
    return [KINDS["verdict"].body(f"{people}\nSo far: {SO_FAR}\nAttempt: {attempt}") for attempt in VERDICTS]


def reactions() -> list[dict[str, Any]]:
    ends = ((f"You: {who}, {what}\nYou have observed: {seen}", who) for who, what, seen in REACTIONS)
    return [KINDS["reaction"].body(f"{SO_FAR}\n{text}\nWhat does {who} do?") for text, who in ends]

"""Rows of a data file in the layouts that aligndistil reads; shared by the tools.

JSONL or one JSON array, plain or gzipped. `plain` makes {"prompt", "chosen", "rejected"} of a row,
whatever its layout is."""
import gzip
import json
import os
import re
import sys

ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant",
         "system": "system"}
PLAIN = ("pairs", "prompts", "ultrafeedback")
ASKED = ("mt-bench", "arena-hard", "alpaca-eval")


class Unusable(Exception):
    """Why a row is left out."""


def fail(message):
    sys.exit(f"{os.path.splitext(os.path.basename(sys.argv[0]))[0]}: {message}")


def read_text(path):
    try:
        with open(path, "rb") as file:
            data = file.read()
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
        return data.decode("utf-8-sig")
    except (OSError, EOFError, ValueError) as error:
        return fail(f"{path}: {error}")


def read_rows(path):
    """(line from 1, or item from 0; row) of every row; ends the program on a broken one."""
    text = read_text(path)
    try:
        if text.lstrip().startswith("["):
            return list(enumerate(json.loads(text)))
    except ValueError as error:
        fail(f"{path}: {error}")
    rows = []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                rows.append((number, json.loads(line)))
            except ValueError as error:
                fail(f"{path}:{number}: {error}")
    return rows


def layout_of(row):
    """The layout that a row's members show; None when they show none."""
    chosen, turns, output = row.get("chosen"), row.get("turns"), row.get("output")
    first = turns[0] if isinstance(turns, list) and turns else None
    if "prompt" in row and turns is None:
        if not set(row) & {"chosen", "rejected", "response", "chosen_text", "rejected_text",
                           "response_text"}:
            if isinstance(row.get("messages"), list) or "completion" in row:
                return "messages" if isinstance(row.get("messages"), list) else "completion"
            return "arena-hard" if "uid" in row and "category" in row else "prompts"
        whole = isinstance(row["prompt"], str) and isinstance(chosen, list) and len(chosen) > 1
        return "ultrafeedback" if whole else "pairs"
    if "prompt_text" in row or "text" in row:
        return "pairs"
    if "conversations" in row:
        return "sharegpt"
    if turns is not None:
        return {str: "mt-bench", dict: "arena-hard"}.get(type(first))
    if "instruction" in row:
        ranked = "chosen" in row or "rejected" in row or isinstance(output, list) or \
            (output is None and "response" in row)
        asked = output is None or "dataset" in row or "generator" in row
        return "alpaca" if ranked or not asked else "alpaca-eval"
    if isinstance(chosen, list) and isinstance(row.get("rejected"), list):
        return "implicit"
    texts = [t for t in (chosen, row.get("rejected")) if isinstance(t, str)]
    if any(re.match("\n\n(Human|Assistant):", t) for t in texts):
        return "hh"
    return "messages" if isinstance(row.get("messages"), list) else None


def split_implicit(row):
    chosen, rejected = row["chosen"], row["rejected"]
    for talk in chosen, rejected:
        if not talk or talk[-1]["role"] != "assistant":
            raise Unusable("no assistant turn at the end")
    if chosen[:-1] != rejected[:-1]:
        raise Unusable("prompts that differ")
    if len(chosen) < 2:
        raise Unusable("empty prompt")
    return chosen[:-1], chosen[-1]["content"], rejected[-1]["content"]


def hh_messages(text):
    before, *turns = re.split(r"\n\n(Human|Assistant):", text)
    roles = [("user", "assistant")[name == "Assistant"] for name in turns[::2]]
    if before.strip() or any(role != ("user", "assistant")[i % 2] for i, role in enumerate(roles)):
        raise Unusable("roles that don't alternate")
    return [{"role": r, "content": c.strip()} for r, c in zip(roles, turns[1::2])]


def split_hh(row):
    prompt, chosen, rejected = split_implicit({k: hh_messages(row[k])
                                               for k in ("chosen", "rejected")})
    if not chosen or not rejected:
        raise Unusable("empty answer")
    if chosen == rejected:
        raise Unusable("same answers")
    return prompt, chosen, rejected


def split_sharegpt(row):
    turns = list(row["conversations"])
    answers = [row.get("chosen"), row.get("rejected")]
    if answers == [None, None]:
        answers[0] = turns.pop() if turns else None
    prompt = [{"role": ROLES.get(t["from"]), "content": t["value"]} for t in turns]
    spoken = [m["role"] for m in prompt]
    if spoken[:1] == ["system"]:
        del spoken[0]
    if not prompt:
        raise Unusable("empty prompt")
    if spoken != ["user", "assistant"] * (len(spoken) // 2) + ["user"]:
        raise Unusable("roles that don't alternate")
    if any(a is not None and ROLES.get(a["from"]) != "assistant" for a in answers):
        raise Unusable("no assistant turn at the end")
    return [prompt] + [a and a["value"] for a in answers]


def instruction_of(row):
    return "\n".join(filter(None, (row["instruction"], row.get("input"))))


def split_alpaca(row):
    talk = []
    for user, assistant in row.get("history") or []:
        talk += [{"role": "user", "content": user}, {"role": "assistant", "content": assistant}]
    text = instruction_of(row)
    output = row.get("output", row.get("response"))
    both = output if isinstance(output, list) else [output, None]
    return [talk + [{"role": "user", "content": text}]] + [
        row.get(key, other) for key, other in zip(("chosen", "rejected"), both)]


def split_messages(row):
    talk = row["messages"]
    if talk and ("chosen" in row or "rejected" in row):
        return talk, row.get("chosen"), row.get("rejected")
    answered = talk[-1:] and talk[-1]["role"] == "assistant"
    if len(talk) - bool(answered) < 1:
        raise Unusable("empty prompt")
    return (talk[:-1], talk[-1]["content"], None) if answered else (talk, None, None)


def split_completion(row):
    if row.get("label") is False:
        raise Unusable("labelled as not wanted")
    return row["prompt"], row["completion"], None


def split_question(row):
    first = row["turns"][0] if "turns" in row else row.get("prompt") or instruction_of(row)
    return first["content"] if isinstance(first, dict) else first, None, None


SPLITS = {"implicit": split_implicit, "hh": split_hh, "sharegpt": split_sharegpt,
          "alpaca": split_alpaca, "messages": split_messages, "completion": split_completion,
          "mt-bench": split_question, "arena-hard": split_question,
          "alpaca-eval": split_question}


def with_whole(row):
    """Of a prompt's text beside whole conversations of several messages the text is left."""
    whole = [row[key] for key in ("chosen", "rejected")
             if isinstance(row.get(key), list) and len(row[key]) > 2]
    if not whole or not isinstance(row.get("prompt"), str) or "prompt_text" in row:
        return row
    return {**row, "prompt": whole[0][:-1]}


def with_system(row):
    """A row's "system" as the first message, if the prompt has none of its own."""
    key = "prompt" if "prompt" in row else "messages"
    talk = row.get(key)
    if not row.get("system") or not talk or "prompt_text" in row:
        return row
    talk = [{"role": "user", "content": talk}] if isinstance(talk, str) else talk
    first = [] if talk[0]["role"] == "system" else [{"role": "system", "content": row["system"]}]
    return {**{k: v for k, v in row.items() if k != "system"}, key: first + talk}


def plain(row, layout):
    """The row with "prompt", "chosen" and "rejected" (those that there are) of its own, and with its
    system message in the prompt."""
    if layout is None or layout in PLAIN:
        return with_system(with_whole(row))
    try:
        parts = SPLITS[layout](row)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise Unusable(f"not a row of layout {layout}: {error!r}") from error
    gone = ("chosen", "rejected", "prompt", "conversations", "instruction", "input", "output",
            "system", "history", "turns", "messages", "completion", "label")
    made = {k: v for k, v in zip(("prompt", "chosen", "rejected"), parts) if v is not None}
    made = {**{k: v for k, v in row.items() if k not in gone}, **made}
    return with_system({**made, "system": row["system"]}) if row.get("system") and \
        layout not in ASKED else made


def file_layout(rows):
    """The layout of the first row that shows one, of rows as read_rows gives them."""
    return next(filter(None, (layout_of(row) for _, row in rows if isinstance(row, dict))), None)

#!/usr/bin/python3
"""Renders the conversations of a data file with a model's own chat template, by Jinja2.

For templates that aligndistil doesn't write natively. DATA (JSONL or one JSON array, plain or
gzipped) has rows of any layout that aligndistil reads, told by the first one. In OUTPUT (JSONL)
each row has "prompt_text", "chosen_text", "rejected_text", "response_text" in their place, which aligndistil reads as they are; what else a row has stays. The settings are those of
transformers. Rows that the template refuses, or whose answers can't be found in what it writes, are
left out and named.
"""
import argparse
import datetime
import json
import os
import sys

import jinja2
import jinja2.ext
import jinja2.sandbox

import terminal
from data_rows import Unusable, file_layout, plain, read_rows

DAY = datetime.datetime(2024, 7, 26)  # that aligndistil has too: the same text tomorrow
ANSWERS = ("chosen", "rejected", "response")


def read_json(path, default=None):
    if default is not None and not os.path.exists(path):
        return default
    with open(path, encoding="utf-8") as file:
        return json.load(file)


# --- the template ------------------------------------------------------------------------------


def content_of(token):
    return token["content"] if isinstance(token, dict) else token


def find_template(folder, config):
    path = os.path.join(folder, "chat_template.jinja")
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            return file.read()
    template = config.get("chat_template")
    if isinstance(template, list):
        template = {item["name"]: item["template"] for item in template}.get("default")
    if template is None:
        sys.exit(f"render_chat: {folder}: tokenizer_config.json has no chat_template")
    return template


class Generation(jinja2.ext.Extension):
    """{% generation %} marks answers for a mask, and writes what is in it."""
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.Scope(body, lineno=line)


def make_environment():
    def raise_exception(message):
        raise jinja2.TemplateError(message)

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators,
                          sort_keys=sort_keys)
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[jinja2.ext.loopcontrols, Generation])
    environment.filters["tojson"] = tojson
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = DAY.strftime
    return environment


class Renderer:
    """A model directory's template, and the special tokens that may end an answer."""

    def __init__(self, folder, variables):
        config = read_json(os.path.join(folder, "tokenizer_config.json"))
        special = read_json(os.path.join(folder, "special_tokens_map.json"), {})
        config = {**special, **config} if "added_tokens_decoder" in config else {**config, **special}
        tokenizer = read_json(os.path.join(folder, "tokenizer.json"), {})
        self.template = make_environment().from_string(find_template(folder, config))
        names = [k for k in config if k.endswith("_token") and config[k] is not None]
        self.variables = {**{k: content_of(config[k]) for k in names}, **variables}
        self.special = tuple(t["content"] for t in tokenizer.get("added_tokens") or []
                             if t.get("special")) or (self.variables.get("eos_token", "\0"),)

    def render(self, messages, generate):
        try:
            return self.template.render(messages=messages, add_generation_prompt=generate,
                                        **{"tools": None, "documents": None, **self.variables})
        except (jinja2.TemplateError, TypeError) as error:
            raise Unusable(f"the template refuses it: {error}") from error

    def answer(self, messages, content):
        """What is written for an answer, up to its end token; and whether it had to be searched."""
        prompt = self.render(messages, True)
        whole = self.render(messages + [{"role": "assistant", "content": content}], False)
        searched = not whole.startswith(prompt)
        at = len(prompt) if not searched else whole.rfind(content.strip())
        if at < 0 or not content.strip():
            raise Unusable("its answer is not in what the template writes")
        text = whole[at:]
        ended = text.rstrip()
        return (ended if ended.endswith(self.special) else text), searched


# --- rows --------------------------------------------------------------------------------------


def messages_of(prompt):
    return [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt


def last_content(value, key):
    """The answer's text: a string, or the last message of a list."""
    if isinstance(value, str):
        return value
    if not isinstance(value, list) or not value or value[-1].get("role") != "assistant":
        raise Unusable(f"\"{key}\" is neither a string nor a list that ends with an assistant's message")
    return value[-1]["content"]


def find_prompt(row):
    """The messages before the answers."""
    if "messages" in row and not set(row) & set(ANSWERS):
        return row["messages"][:-1]
    if "prompt" in row:
        return messages_of(row["prompt"])
    for key in ("messages", *ANSWERS):
        if isinstance(row.get(key), list):
            return row[key][:-1]
    raise Unusable("it has no \"prompt\"")


def render_row(renderer, row):
    """The row with its texts, and whether an answer had to be searched."""
    if set(row) & {"prompt", "messages", *ANSWERS} == set():
        return row, False
    messages = find_prompt(row)
    answers = {key: last_content(row[key], key) for key in ANSWERS if key in row}
    if "messages" in row and not answers:
        answers["response"] = last_content(row["messages"], "messages")
    out = {"prompt_text": renderer.render(messages, True)}
    searched = False
    for key, content in answers.items():
        out[key + "_text"], here = renderer.answer(messages, content)
        searched = searched or here
    return {**{k: v for k, v in row.items() if k not in ("prompt", "messages", *ANSWERS)},
            **out}, searched


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", metavar="MODEL_DIR")
    parser.add_argument("data", metavar="DATA")
    parser.add_argument("output", metavar="OUTPUT")
    parser.add_argument("--set", metavar="NAME=JSON", action="append", default=[],
                        help="a variable of the template, as enable_thinking=false")
    options = parser.parse_args()
    variables = {name: json.loads(value)
                 for name, value in (item.split("=", 1) for item in options.set)}
    renderer = Renderer(options.model, variables)
    lines, left, searched = [], 0, 0
    rows = read_rows(options.data)
    layout = file_layout(rows)
    for place, row in rows:
        try:
            done, here = render_row(renderer, plain(row, layout if layout != "messages" else None))
        except Unusable as why:
            print(terminal.line(f"render_chat: {options.data}:{place}: left out: {why}"), file=sys.stderr)
            left += 1
            continue
        lines.append(json.dumps(done, ensure_ascii=False) + "\n")
        searched += here
    if not lines:
        sys.exit(f"render_chat: {options.data}: no rows")
    with open(options.output + ".tmp", "w", encoding="utf-8") as file:
        file.writelines(lines)
    os.replace(options.output + ".tmp", options.output)
    print(f"{len(lines)} rows, {left} left out, {searched} where the rendered prompt does not begin "
          "the rendered conversation")


if __name__ == "__main__":
    terminal.run(main)

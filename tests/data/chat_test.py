#!/usr/bin/python3
"""Chat formats: native renderers against Jinja2 with transformers' settings."""
import os
import sys

sys.path.insert(0, os.path.abspath(__file__ + "/../../common"))
from harness import *  # noqa: E402,F403

import jinja2

sys.path.insert(0, TOOLS)
import render_chat as renderer  # noqa: E402

TESTS = []


def test(function):
    TESTS.append(function)
    return function


SPECIAL = ["<|im_start|>", "<|im_end|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]

# --- templates of our own, which say what the formats say --------------------------------------

ZEPHYR = """{% for m in messages if m.role in ('system', 'user', 'assistant') -%}
<|{{ m.role }}|>{{ '\n' ~ m.content ~ eos_token ~ '\n' }}{% endfor -%}
{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"""
LLAMA3 = """{{ bos_token }}{% for m in messages -%}
<|start_header_id|>{{ m.role }}<|end_header_id|>{{ '\n\n' ~ m.content.strip() }}<|eot_id|>
{%- endfor %}{% if add_generation_prompt -%}
<|start_header_id|>assistant<|end_header_id|>{{ '\n\n' }}{% endif %}"""
LLAMA2 = """{% set rest = messages[1:] if messages[0].role == 'system' else messages %}
{%- for m in rest %}{% if (m.role == 'user') == (loop.index0 % 2 == 1) %}
{{- raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}
{%- endif %}{% set head = '<<SYS>>\n' ~ messages[0].content ~ '\n<</SYS>>\n\n'
if loop.first and rest != messages else '' %}
{%- if m.role == 'user' %}{{ bos_token ~ '[INST] ' ~ (head ~ m.content).strip() ~ ' [/INST]' }}
{%- else %}{{ ' ' ~ m.content.strip() ~ ' ' ~ eos_token }}{% endif %}{% endfor %}"""


def mistral(before, inside, behind, answer, where):
    """Mistral's formats differ in spaces, and in where the system message goes."""
    return ("{% set rest = messages[1:] if messages[0].role == 'system' else messages %}"
            "{% for m in rest if m.role != 'tool' and not m.tool_calls %}"
            "{% if (m.role == 'user') == (loop.index0 % 2 == 1) %}{{ raise_exception('After the "
            "optional system message, conversation roles must alternate user/assistant/user/"
            "assistant/...') }}{% endif %}{% endfor %}"
            "{{ bos_token }}{% for m in rest %}{% if m.role == 'user' %}"
            "{{ '" + before + "[INST]" + inside + "' }}{% if loop." + where +
            " and rest != messages %}{{ messages[0].content ~ '\n\n' }}{% endif %}"
            "{{ m.content ~ '" + behind + "[/INST]' }}{% elif m.tool_calls %}"
            "{{ '[TOOL_CALLS]" + inside + "[' }}{% for c in m.tool_calls %}"
            "{% if not c.id or c.id | length != 9 %}{{ raise_exception("
            "'Tool call IDs should be alphanumeric strings with length 9!') }}{% endif %}"
            "{{ (c.function | tojson)[:-1] ~ ', \"id\": \"' ~ c.id ~ '\"}' ~ "
            "(']' ~ eos_token if loop.last else ', ') }}{% endfor %}{% elif m.role == 'tool' %}"
            "{% if not m.tool_call_id or m.tool_call_id | length != 9 %}{{ raise_exception("
            "'Tool call IDs should be alphanumeric strings with length 9!') }}{% endif %}"
            "{{ '[TOOL_RESULTS]" + inside + "{\"content\": ' ~ m.content ~ ', \"call_id\": \"' ~ "
            "m.tool_call_id ~ '\"}[/TOOL_RESULTS]' }}{% else %}{{ " + answer +
            " ~ eos_token }}{% endif %}{% endfor %}")


USER, ANSWER = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Arr! "}
SYSTEM = {"role": "system", "content": "You are a pirate. "}
AGAIN = {"role": "user", "content": " \t\u3000 2+2?\u00a0\n"}
EMPTY = {"role": "user", "content": " \n"}
CHATS = [[USER], [USER, ANSWER], [USER, ANSWER, AGAIN], [SYSTEM, USER], [SYSTEM, AGAIN, ANSWER],
         [SYSTEM, USER, ANSWER, AGAIN], [SYSTEM, EMPTY], [EMPTY, ANSWER],
         [{"role": "user", "content": "\u65e5\u672c \"q\" 'a' \\ {{ x }} {% y %}"}],
         [ANSWER], [USER, USER], [USER, ANSWER, ANSWER], [SYSTEM, ANSWER]]


def jinja(template, messages, generate):
    """{"text"}, or {"error"} where the template raises; as transformers sets Jinja2 up."""
    environment = renderer.make_environment()
    try:
        return {"text": environment.from_string(template).render(
            messages=messages, tools=None, documents=None, add_generation_prompt=generate,
            bos_token="<s>", eos_token="</s>")}
    except jinja2.TemplateError as error:
        return {"error": str(error)}


def rendered(model, chats, generate, chat_format="auto"):
    rows = "".join(json.dumps(chat) + "\n" for chat in chats).encode()
    words = ["--add-generation-prompt"] if generate else []
    done = run("tokenize", model, "--render", *words, "--chat-format", chat_format, stdin=rows)
    return [json.loads(line) for line in done.out.splitlines()]


def compare(model, chat_format, template, chats):
    for generate in (False, True):
        ours = rendered(model, chats, generate, chat_format)
        assert len(ours) == len(chats)
        for chat, mine in zip(chats, ours):
            theirs = jinja(template, chat, generate)
            assert mine == theirs, f"{chat_format}, {chat}:\n{mine}\n{theirs}"


@test
def formats_against_templates_of_our_own(folder):
    model = make_tokenizer(f"{folder}/plain", SPECIAL)
    assert "text" in jinja(LLAMA2, CHATS[0], False) and "error" in jinja(LLAMA2, CHATS[9], False)
    compare(model, "llama3", LLAMA3, CHATS)
    compare(model, "llama2", LLAMA2, CHATS)
    compare(model, "zephyr", ZEPHYR, CHATS + [[USER, {"role": "tool", "content": "{}"}]])


def called(name, arguments, **rest):
    return {"role": "assistant", "content": "",
            "tool_calls": [{"type": "function", "function": {"name": name, "arguments": arguments},
                            **rest}]}


TOOL = {"role": "tool", "content": "{\"r\": 2}", "tool_call_id": "123456789"}
CALLS = [[USER, called("f", {"a": 1, "b": "\u00e9\n\"\\\x01\x7f", "c": [1.5, True, None, -7],
                             "d": {}, "e": 1e22, "f": 0.1, "g": 1e-7, "h": 100.0,
                             "i": 123456789.125, "j": 1.5e16, "k": 0.0001}, id="123456789"), TOOL],
         [USER, called("f", {}), TOOL], [USER, called("f", {}, id="1234"), TOOL],
         [USER, called("f", [], id="abcdefghi"), {**TOOL, "tool_call_id": "x"}]]


@test
def mistral_by_the_vocabulary(folder):
    """v1 where [INST] is no token, v3 with metaspaces, tekken without."""
    v1 = make_tokenizer(f"{folder}/v1")
    v3 = make_tokenizer(f"{folder}/v3", ["[INST]", "[/INST]"], words=["\u2581"])
    tekken = make_tokenizer(f"{folder}/tekken", ["[INST]", "[/INST]"])
    compare(v1, "mistral", mistral(" ", " ", " ", "' ' ~ m.content", "first"), CHATS)
    compare(v3, "mistral", mistral("", " ", "", "' ' ~ m.content.strip()", "last"), CHATS + CALLS)
    compare(tekken, "mistral", mistral("", "", "", "m.content", "last"), CHATS + CALLS)


@test
def published_templates(folder):
    """Those of ../shared: every line the same, errors word by word."""
    place = os.path.join(SHARED, "templates")
    if not os.path.isdir(place):
        raise Skip(f"there is no {place}")
    chats = read_rows(f"{place}/chats.jsonl")
    names = sorted(name[:-len(".rendered.jsonl")] for name in os.listdir(place)
                   if name.endswith(".rendered.jsonl"))
    assert len(names) == 10, names
    for name in names:
        generate = name.endswith(".gen")
        model = os.path.join(SHARED, "tokenizers", name.removesuffix(".gen"))
        if not os.path.isdir(model):
            with open(f"{place}/{name.removesuffix('.gen')}.jinja", encoding="utf-8") as file:
                model = make_tokenizer(f"{folder}/{name}", SPECIAL, file.read())
        for line, (mine, theirs) in enumerate(zip(rendered(model, chats, generate),
                                                  read_rows(f"{place}/{name}.rendered.jsonl"))):
            assert mine == theirs, f"{name}:{line + 1}\n{mine}\n{theirs}"


THINKING = [[USER, {"role": "assistant", "content": text}, AGAIN, {"role": "assistant", "content": text}]
            for text in ("<think>\nwell\n</think>\n\nArr", "well</think>Arr", "\n\nArr", "<think>Arr")]
QWEN_CALLS = [[USER, called("f", {"a": 1}), {"role": "tool", "content": "x"}, ANSWER],
              [USER, {**called("f", {"a": 1}), "content": "Look:"}, {"role": "tool", "content": "x"},
               {"role": "tool", "content": "y"}, {"role": "assistant", "content": "Arr"}]]


def published(name):
    """The template of a tokenizer in ../shared."""
    path = os.path.join(SHARED, "tokenizers", name, "tokenizer_config.json")
    if not os.path.exists(path):
        raise Skip(f"there is no {path}")
    return read_json(path)["chat_template"]


def between(text, first, last, new):
    """The text with what lies from `first` to `last` replaced."""
    at = text.index(first)
    return text[:at] + new + text[text.index(last, at):]


def qwen3_2507(template):
    """Qwen3-Instruct-2507's template, which is Qwen3's without what is about reasoning."""
    loop, text = "{%- for message in messages %}\n", "        {%- set content = "
    content = "    {%- if message.content is string %}\n" + text + "message.content %}\n" \
        "    {%- else %}\n" + text + "'' %}\n    {%- endif %}\n"
    template = between(template, "{%- set ns =", loop, "").replace(loop, loop + content)
    template = between(template, text + "message.content %}\n        {%- set r",
                       "        {%- if message.tool_calls",
                       "        {{- '<|im_start|>' + message.role + '\\n' + content }}\n")
    template = template.replace("'\\n' + message.content +", "'\\n' + content +").replace(
        "{{- message.content }}", "{{- content }}")
    return template[:template.index("    {%- if enable_thinking")] + "{%- endif %}"


@test
def relatives_of_published_templates(folder):
    """One that is a few edits away, and those with the marks that TRL puts around answers."""
    chats = CHATS[:9] + THINKING + QWEN_CALLS
    qwen3, qwen25 = published("qwen3"), published("qwen2.5-instruct")
    end = "{{- '<|im_end|>\\n' }}\n"
    marked = [t.replace(end, "{%- generation %}\n" + end + "{%- endgeneration %}\n", 1)
              for t in (qwen3, qwen25)]
    assert "generation %}" in marked[0] and "generation %}" in marked[1]
    for template, name in ((qwen3, "chatml-qwen3"), (qwen3_2507(qwen3), "chatml-qwen3-2507"),
                           (marked[0], "chatml-qwen3"), (marked[1], "chatml-qwen2.5")):
        model = make_tokenizer(f"{folder}/relative", SPECIAL, template)
        talks = [chat for chat in chats if "qwen3" in name or chat not in QWEN_CALLS[:1]]
        compare(model, "auto", template, talks)
    assert jinja(qwen3_2507(qwen3), THINKING[0], False) != jinja(qwen3, THINKING[0], False)
    done = run("tokenize", make_tokenizer(f"{folder}/relative", SPECIAL, qwen3.replace(
        end, "{%- mark %}\n" + end, 1)), "--render", stdin=b"[]\n", code=3)
    assert "chat_template" in done.errors[0] or "empty" in done.errors[0], done


UNKNOWN = [("{{ 1 }}\n{{ messages | groupby('role') }}", "line 2", "'groupby'"),
           ("{% include 'x' %}", "line 1", "'include'"), ("{{ messages.sort() }}", "line 1", "method"),
           ("{{ pad_token }}", "line 1", "'pad_token'"), ("{% if true %}", "within a block", ""),
           ("{{ '\\N{BULLET}' }}", "escape", ""), ("{{ 1 is prime }}", "'prime'", ""),
           ("{{ " + "(" * 300 + ")" * 300 + " }}", "too deep", ""), ("{{ 'a", "without its end", ""),
           ("{% raw %}{% endraw %}", "'raw'", ""), ("{{ f(*messages) }}", "unpacked", ""),
           ("{{ \u00e9 }}", "found '\u00e9'", ""), ("{{ a '" + "\u00e9" * 30 + "' }}", "\u00e9'", ""),
           ("{% call f() %}{% endcall %}", "'call'", "")]


@test
def what_is_refused(folder):
    """What isn't known in a template is named, with its line."""
    rows = (json.dumps([USER]) + "\n").encode()
    for template, *said in UNKNOWN:
        model = make_tokenizer(f"{folder}/odd", SPECIAL, template)
        done = run("tokenize", model, "--render", stdin=rows, code=3)
        assert f"tools/render_chat.py {model} DATA OUTPUT" in done.errors[0] and \
            len(done.errors) == 1 and all(word in done.errors[0] for word in said), (template, done)
    model = make_tokenizer(f"{folder}/bare")
    for chat_format, token in (("llama3", "<|eot_id|>"), ("chatml", "<|im_end|>")):
        done = run("tokenize", model, "--render", "--chat-format", chat_format, stdin=rows, code=3)
        assert token in done.errors[0] and len(done.errors) == 1, done
    done = run("tokenize", model, "--render", "--chat-format", "alpaca", stdin=rows, code=2)
    assert "alpaca: expected one of auto|chatml|" in done.errors[0], done


PLAIN = ("{% for message in messages %}{% if loop.first and messages[0].role != 'system' %}"
         "{{ '<|im_start|>system\\nBe brief.@<|im_end|>\\n' }}{% endif %}"
         "{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}"
         "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}")
LINES = """{%- for message in messages %}
{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
{%- endif %}
"""
ESCAPES = ["\\n", "\\\\n", "\\\\", "\\u0041", "\\x41", "\\101", "\\U0001F600", "\\N{BULLET}", "\\q",
           "\n", "\\\n", "\r\n", "\\t", "\\r", "\\x02", "\\u12", "\\\\x41", "A", "nu", "\\'", "\\\\u0041"]


def same_or_refused(folder, template, must=False):
    """A template is rendered as by Jinja2, or refused; whether it is rendered."""
    model = make_tokenizer(f"{folder}/variant", SPECIAL, template)
    rows = [[USER], [USER, ANSWER, AGAIN], [SYSTEM, USER]]
    lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
    done = run("tokenize", model, "--render", "--add-generation-prompt", stdin=lines, code=None)
    assert done.code in ((0,) if must else (0, 3)), (template, done)
    try:
        theirs = [jinja(template, row, True) for row in rows]
    except Exception as error: # Python's unicode-escape refuses it
        theirs = [str(error)]
    found = [json.loads(line) for line in done.out.splitlines()]
    assert done.code == 3 or found == theirs, (template, found, theirs)
    return done.code == 0


# --- templates that are run --------------------------------------------------------------------

# Templates of our own, in the ways of published ones: the system message in the first turn, roles
# renamed, contents trimmed (Gemma); reasoning cut off and begun by the prompt (DeepSeek-R1's
# distilled models, QwQ); a macro, a date, members of messages (SmolLM3); filters (OLMo 3).
GEMMA = """{{ bos_token }}{% if messages[0]['role'] == 'system' %}
{%- set first, rest = messages[0].content + '\n\n', messages[1:] %}{% else %}
{%- set first, rest = '', messages %}{% endif %}{% for m in rest %}
{%- if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}
{{- raise_exception("Conversation roles must alternate") }}{% endif %}
{%- set role = 'model' if m.role == 'assistant' else m.role %}
{{- '<|im_start|>' + role + '\n' + (first if loop.first else '') }}{% generation %}{{ m.content | trim -}}
{% endgeneration %}<|im_end|>{{ '\n' }}{% endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>model\n' }}{% endif %}"""
THINKER = """{%- set ns = namespace(system='', last=-1) -%}{%- for m in messages -%}
{%- if m['role'] == 'system' -%}{%- set ns.system = m['content'] -%}{%- elif m.role == 'user' -%}
{%- set ns.last = loop.index0 -%}{%- endif -%}{%- endfor -%}{{bos_token}}{{ns.system}}
{%- for m in messages -%}{%- if m['role'] == 'user' -%}{{'<U>' + m['content']}}{%- endif -%}
{%- if m['role'] == 'assistant' and m['content'] is not none -%}{%- set content = m['content'] -%}
{%- if '</think>' in content -%}{%- set content = content.split('</think>')[-1].lstrip('\n') -%}
{%- endif -%}{{'<A>' + content + eos_token}}{%- endif -%}{%- endfor -%}
{%- if add_generation_prompt -%}{{'<A><think>\n'}}{%- endif %}"""
MACRO = """{# says the day #}{%- macro turn(role, text='', end=true) -%}
{{ '<|im_start|>' ~ role ~ '\n' ~ text }}{% if end %}<|im_end|>{{ "\n" }}{% endif %}
{%- endmacro -%}
{%- set mode = '/think' if enable_thinking is not defined or enable_thinking else '/no_think' -%}
{%- if messages[0].role == 'system' and '/no_think' in messages[0].content -%}
{%- set mode = '/no_think' -%}{%- endif -%}
{%- set text -%}
Today: {{ strftime_now("%d %B %Y") }}, {{ mode }}
{%- if tools %}{{ tools | tojson }}{% endif %}
{%- endset -%}
{{- turn('system', text) -}}
{%- for m in messages if m.role != 'system' -%}{%- if m.tool_calls -%}
{%- for c in m.tool_calls -%}{% set c = c.function if c.function else c %}
{{- turn('call', c.name ~ c.arguments | tojson(indent=2)) -}}{%- endfor -%}{%- endif -%}
{%- if m.content is string and m.content -%}
{{- turn(role=m.role, text=m.content.replace('/no_think', '').rstrip()) -}}
{%- elif m.content is none -%}{{- turn('none', m.content | string) -}}{%- endif -%}
{%- endfor -%}{%- if add_generation_prompt -%}{{ turn('assistant', end=false) }}
{%- if mode == '/no_think' -%}{{ '<think>\n\n</think>\n' }}{%- endif -%}{%- endif -%}"""
LISTS = """{% set system = messages | selectattr('role', 'equalto', 'system') | list %}
{%- if system | length > 1 %}{{ raise_exception('one system message') }}{% endif %}
{%- if not system %}{{ '<|im_start|>system\nBe kind.<|im_end|>\n' }}{% endif %}
{%- for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}
{%- if m.get('content', none) is not none %}{{ m['content'] }}{% endif %}
{%- if m.get('functions') is not none %}{{ m['functions'] }}{% endif %}
{%- if not loop.last %}{{ '<|im_end|>' + '\n' }}{% elif m.role == 'user' %}<|im_end|>
{% else %}{{ eos_token }}{% endif %}
{%- if loop.last and add_generation_prompt %}{{ '<|im_start|>assistant\n<think>' }}{% endif %}
{%- endfor %}"""
NULLS = [[USER, {**called("f", {"a": "x"}), "content": None}, {"role": "tool", "content": "y"}, ANSWER],
         [USER, {**called("f", {"a": [1, {"b": None}]}), "content": "Look:"}]]
MORE = [[{"role": "system", "content": "/no_think me "}, USER],
        [USER, {"role": "assistant", "content": ""}], [SYSTEM, SYSTEM, USER]]


@test
def templates_that_are_run(folder):
    for template in (GEMMA, THINKER, MACRO, LISTS):
        model = make_tokenizer(f"{folder}/run", SPECIAL, template)
        compare(model, "auto", template, CHATS + THINKING + MORE +
                (NULLS if template in (MACRO, LISTS) else []))
    model = make_tokenizer(f"{folder}/run", SPECIAL, MACRO)
    found = rendered(model, [[USER]], False)[0]["text"]
    assert "Today: 26 July 2024, /think<|im_end|>" in found, found


# What Python and Jinja2 make of each of these is what the program makes of it, errors included.
CASES = r"""{{ 1 + 2 * 3 - 4 // 3 }} {{ 7 % 3 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 7 / 2 }} {{ 1.5 + 1 }} {{ -(1) }}
{{ 1 < 2 < 3 }} {{ 1 == 1.0 }} {{ true == 1 }} {{ 'a' < 'b' }} {{ not 1 == 2 }} {{ 'a' not in 'abc' }}
{{ 'x' * 3 }} {{ 'a' ~ 1 ~ none ~ true ~ x }} {{ [1] + [2, 'b'] }} {{ (1,) }} {{ {'a': [1.5, none]} }}
{{ 'a' + 1 }}
{{ m + 'a' }}
{{ m.content + none }}
{{ -x }}
{{ [1, 2, 3][1:] }} {{ 'héllo'[1:3] }} {{ 'héllo'[::-1] }} {{ [1, 2, 3][-1] }} {{ 'abc'[-2] }} {{ [1][5] }}
{{ messages[0].role }} {{ messages[0]['nothing'] is defined }} {{ x[1:] }}
{{ messages[0].nothing.more }}
{{ none.more is defined }} {{ 'a'.more is defined }} {{ x is undefined }} {{ x | default('d') }}
{{ '' | default('e', true) }} {{ 0 | d(5, boolean=true) }} {{ none | d('n') }} {{ x | length }}
{{ ' a b  c '.split() }} {{ 'a,b,,c'.split(',') }} {{ 'a,b,c'.split(',', 1) }} {{ 'a.b.c'.rsplit('.', 1) }}
{{ '\u3000 xx \u00a0'.strip() }}| {{ 'xxaxx'.strip('x') }} {{ 'abab'.lstrip('ba') }}| {{ '  a '.rstrip() }}|
{{ 'abc'.startswith('ab') }} {{ 'abc'.endswith(('x', 'bc')) }} {{ 'a-b'.replace('-', '+') }} {{ 'aaa'.replace('a', 'b', 2) }}
{{ 'it is. Don\'t'.title() }} {{ 'it (is) don\'t' | title }} {{ 'aB'.upper() }} {{ 'ÀB'.lower() }} {{ 'aBC' | capitalize }}
{{ 'héé'.find('é') }} {{ 'héé'.rfind('é') }} {{ 'a'.find('b') }} {{ 'abab'.count('ab') }} {{ ', '.join(['a', 'b']) }}
{{ [3, 1, 2] | sort }} {{ ['b', 'A', 'c'] | sort(reverse=true) }} {{ {'b': 1, 'A': 2} | dictsort }} {{ ['a', 'A', 'b'] | unique | list }}
{{ [1, 2] | first }} {{ [1, 2] | last }} {{ [] | first }} {{ [2, 1] | min }} {{ [1, 2] | reverse | list }} {{ 'ab' | reverse }}
{{ messages | map(attribute='role') | join('+') }} {{ ['a', 'b'] | map('upper') | list }} {{ [0, 1, ''] | select | list }}
{{ [1, 2, 3, 4] | reject('odd') | list }} {{ messages | rejectattr('role', 'in', ['user']) | list | length }}
{{ messages | selectattr('role') | length }}
{{ 'a' if messages | selectattr('role', '==', 'x') else 'b' }}
{{ {'b': 'é\n"', 'a': [1, 2.0, none, true]} | tojson }} {{ {'b': [], 'a': {'c': {}}} | tojson(indent=2) }} {{ 'é😀\x7f' | tojson(ensure_ascii=true) }}
{{ {'b': 1, 'a': 2} | tojson(sort_keys=true, separators=(',', ':')) }} {{ m.content | tojson }}
{{ "it's" }} {{ ["it's", 'a"b', 'n\n\t\x01\u00ad\u200b é'] }} {{ '%' }} {{ '}}' }} {{ '{%' }} {{- ' left' -}} {{ ' right' }}
{% for k, v in {'a': 1, 'b': 2}.items() %}{{ k }}={{ v }}{{ ',' if not loop.last }}{% endfor %} {% for k in {'a': 1} | items %}{{ k }}{% endfor %}
{% for i in range(5) %}{% if i == 1 %}{% continue %}{% endif %}{% if i == 3 %}{% break %}{% endif %}{{ i }}{% endfor %} {% for i in [] %}x{% else %}none{% endfor %}
{% for i in [1, 2, 3] if i != 2 %}{{ loop.index }}/{{ loop.length }}{{ loop.previtem }}{{ loop.nextitem }}{{ loop.revindex0 }} {% endfor %}
{% set a = 1 %}{% for i in [1] %}{% set a = 2 %}{{ a }}{% endfor %}{{ a }} {% if true %}{% set a = 3 %}{% endif %}{{ a }}
{% set n = namespace(a=1) %}{% for i in [1, 2] %}{% set n.a = n.a + i %}{% endfor %}{{ n.a }} {% set n.b = 'x' %}{{ n.b }}
{% set p, q = 'pq' %}{{ q ~ p }} {% set b %}  in {{ 1 }} {% endset %}{{ b | trim }}{{ b | length }}
{% set outer = '!' %}{{ f(1) }} {{ f('x', c=2) | upper }} {{ f() }}
{{ f(1, 2, 3, 4) }}
{{ 'a\nb\n\nc' | indent(2) }}| {{ 'a\nb' | indent(2, true) }}| {{ '12' | int + 1 }} {{ 3 | string + 'a' }} {{ ' x ' | trim }}|
{{ [1, 'a'] is iterable }} {{ 'a' is sequence }} {{ {} is mapping }} {{ 1 is number }} {{ 1.0 is float }} {{ true is boolean }} {{ 4 is divisibleby 2 }} {{ true is sameas true }}
{{ 3 is odd and not 3 is even }} {{ 1 in [1, 2] and 'a' in {'a': 1} }} {{ 'b' if false }} {{ ('a' if false) is defined }} {{ x or 'y' }} {{ 1 and 0 }}
{{ 1 if 0 else 2 if 0 else 3 }}
{{ messages.append(1) }}
{{ raise_exception('no: ' ~ m.role) }}
{{ 'a' 'b' "c" }} {{ 'q\'\\\u00e9\x41' }}
{{ m }} {{ m.items() | list }} {{ m.keys() | list }} {{ m.get('role') }} {{ m.get('x') }} {{ m.get('x', 1) }}
{{ 'x<{}>{}'.format(1, m.role) }} {{ strftime_now('%Y-%m-%d %A %b %j') }} {{ dict(a=1) }} {{ range(3) | list }} {{ 'a\u2028b\r\nc'.splitlines() }}
{{ messages | length }} {{ tools }} {{ documents is none }} {{ bos_token }} {{ add_generation_prompt }} {{ loop is defined }}
{{ 1 > 'a' }}
{{ 1 in 'a1' }}
{% for i in none %}{% endfor %}
{{ {'a': 1}.a }} {{ {'a': 1}['b'] }} {{ 'a' is string and m.content is not none }} {{ 1 }}{# c #} {%- if true %} y {%- endif +%} {{ x.y if x else 'z' }}
"""


@test
def python_by_the_case(folder):
    """One template that holds every case, and a conversation of another length for each."""
    cases = CASES.splitlines()
    template = ("{% macro f(a, b='B', c=a) %}{{ a }}{{ b }}{{ c }}{{ outer }}{% endmacro %}"
                "{% set m = messages[0] %}{% set k = messages | length %}{% if k == 0 %}" + "".join(
                    f"{{% elif k == {i + 1} %}}{case}" for i, case in enumerate(cases)) + "{% endif %}")
    model = make_tokenizer(f"{folder}/cases", SPECIAL, template)
    chats = [[{"role": "user", "content": "c<\u00e9\n"}] * (i + 1) for i in range(len(cases))]
    failed = 0
    for case, chat, mine in zip(cases, chats, rendered(model, chats, True)):
        try:
            theirs = jinja(template, chat, True)
        except (TypeError, ValueError) as error: # which transformers passes on
            theirs = {"error": str(error)}
        failed += "error" in mine
        assert mine == theirs or ("error" in mine and "error" in theirs), (case, mine, theirs)
    assert len(cases) == 48 and failed == 13, (len(cases), failed)


HOSTILE = ["{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
           "{% set n = namespace(a='xxxxxxxx') %}{% for i in range(99) %}{% set n.a = n.a ~ n.a %}{% endfor %}",
           "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "{{ 'x' * 9999999999 }}",
           "{{ 1" + " + 1" * 5000 + " }}", "{{ 99999999999 * 99999999999 }}", "{{ range(10 ** 9) }}",
           "{{ 1 // 0 }}", "{{ messages[0].content[::0] }}"]


@test
def templates_that_never_end(folder):
    """Steps, memory and depth are bounded; the row is refused, and the program goes on."""
    for template in HOSTILE:
        model = make_tokenizer(f"{folder}/hostile", SPECIAL, template)
        row, = rendered(model, [[USER]], True)
        assert "error" in row and row["error"].startswith("the chat template: "), (template, row)


@test
def variants_render_the_same_or_are_refused(folder):
    """What looks alike in a template and isn't: escapes, line ends, trimming."""
    taken = [same_or_refused(folder, PLAIN.replace("@", escape)) for escape in ESCAPES]
    assert taken[0] and taken[ESCAPES.index("A")] and sum(taken) > 8, taken
    for old, new in (("role + '\\n'", "role + '\\\\n'"), ("assistant\\n", "assistant\\\\n"),
                     ("<|im_end|>\\n", "<|im_end|>\n"), ("im_start|>' +", "im_st\\x61rt|>' +"),
                     ("{% endfor", "x\\n{% endfor"), ("{% endfor", "\\n{% endfor")):
        for template in (PLAIN, PLAIN.replace("@", "")):
            assert old in template
            same_or_refused(folder, template.replace(old, new))
    for template in (LINES, LINES.replace("{%-", "{%+"), LINES.replace("{%-", "{%"), LINES + "\n",
                     LINES.replace("    {{-", "    {%+ if true %}{% endif %}{{-")):
        for ends in ("\n", "\r\n", "\r"):
            same_or_refused(folder, template.replace("\n", ends), template == LINES)


@test
def several_templates_without_a_default(folder):
    """As transformers does: no template is chosen, and rows must bring their text."""
    model = make_tokenizer(f"{folder}/several", SPECIAL, [{"name": "rag", "template": LINES}])
    rows = (json.dumps([USER]) + "\n").encode()
    done = run("tokenize", model, "--render", stdin=rows, code=3)
    assert "none is named \"default\"" in done.errors[0], done
    model = make_tokenizer(f"{folder}/several", SPECIAL,
                           [{"name": "rag", "template": "x"}, {"name": "default", "template": LINES}])
    assert rendered(model, [[USER]], True) == [jinja(LINES, [USER], True)]


@test
def rendered_rows_need_no_template(folder):
    rows = [{"prompt_text": "<|im_start|>Q", "chosen_text": "A<|im_end|>", "rejected_text": "B"},
            {"text": "plain"},
            {"prompt": "Q", "prompt_ids": [5, 6], "response": "A", "response_ids": [7, 8]}]
    path = write_rows(f"{folder}/given.jsonl", rows[:2])
    for template in ("{{ messages }}", "{% x %}", [{"name": "a", "template": "b"}], None):
        model = make_tokenizer(f"{folder}/strange", SPECIAL, template)
        found = masks(model, path)
        assert parts(model, found[0]) == ["<|im_start|>Q", "A<|im_end|>"], (template, found)
        assert parts(model, found[1]) == ["p", "lain</s>"], (template, found)


# --- masks, and rendered files -----------------------------------------------------------------

ROWS = [{"prompt": "Tea?", "chosen": "Yes.", "rejected": "No.", "id": 7},
        {"prompt": [SYSTEM, AGAIN], "chosen": [{"role": "assistant", "content": " Four. "}],
         "rejected": [{"role": "assistant", "content": "\nFive"}], "required": ["Four"]},
        {"prompt": [USER, ANSWER, AGAIN], "chosen": "4", "rejected": "5"}]


def masks(model, path, chat_format="auto"):
    done = run("tokenize", model, path, "--mask", "--chat-format", chat_format)
    return [json.loads(line) for line in done.out.splitlines()]


def decoded(model, ids):
    back = (json.dumps({"ids": ids}) + "\n").encode()
    return json.loads(run("tokenize", model, "--decode", stdin=back).out)["text"]


def parts(model, row):
    return [decoded(model, [i for i, m in zip(row["ids"], row["mask"]) if m == part])
            for part in (0, 1)]


@test
def answers_end_with_the_formats_token(folder):
    model = make_tokenizer(f"{folder}/masks", SPECIAL)
    path = write_rows(f"{folder}/masks.jsonl", ROWS)
    for chat_format, template, end in (("llama3", LLAMA3, "<|eot_id|>"), ("llama2", LLAMA2, "</s>"),
                                       ("zephyr", ZEPHYR, "</s>")):
        for row, mask in zip(ROWS, masks(model, path, chat_format)):
            prompt = row["prompt"]
            prompt = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
            answer = row["chosen"] if isinstance(row["chosen"], str) else row["chosen"][0]["content"]
            talk = prompt + [{"role": "assistant", "content": answer}]
            start = jinja(template, prompt, True)["text"]
            whole = jinja(template, talk, False)["text"]
            assert whole.startswith(start)
            expected = [start, whole[len(start):].rstrip("\n")]
            assert expected[1].endswith(end)
            assert parts(model, mask) == expected, (chat_format, mask)


@test
def answers_of_templates_that_are_run(folder):
    """Tokens that prompt and conversation begin with are the prompt's; an answer ends with what the
    template writes behind it, or the row is left out."""
    talk = [{"prompt": [USER], "chosen": "<think>\nno\n</think>\n\nYes ", "rejected": "No"}]
    path = write_rows(f"{folder}/run.jsonl", talk)
    for template, prompt, answer in (
            (GEMMA, "<s><|im_start|>user\nHi<|im_end|>\n<|im_start|>model\n",
             "<think>\nno\n</think>\n\nYes<|im_end|>"),
            (THINKER, "<s><U>Hi<A>", "Yes </s>"),
            (LISTS, "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
             "<|im_start|>assistant\n<think>", "\nno\n</think>\n\nYes </s>")):
        model = make_tokenizer(f"{folder}/run", SPECIAL, template)
        found = masks(model, path)
        assert parts(model, found[0]) == [prompt, answer], (template, parts(model, found[0]))
    moved = "{% for m in messages %}{{ m.role if messages | length > 1 else '' }}{{ m.content }}" \
        "{{ eos_token }}{% endfor %}{% if add_generation_prompt %}A:{% endif %}"
    for template, said in ((moved, "writes the prompt otherwise"),
                           (GEMMA.replace("<|im_end|>", "<end>").replace("</s>", ""), "end token")):
        model = make_tokenizer(f"{folder}/run", SPECIAL, template)
        done = run("tokenize", model, path, "--mask", code=3)
        assert said in " ".join(done.errors), (template, done)


ODD = """{% for m in messages %}[{{ m.role | upper }}] {{ m.content | trim }}{{ eos_token }}
{% endfor %}{% if add_generation_prompt %}[ASSISTANT] {% endif %}"""


def render_chat(model, path, out, code=0):
    done = subprocess.run([PYTHON, os.path.join(TOOLS, "render_chat.py"), model, path, out],
                          capture_output=True, text=True)
    assert done.returncode == code, done
    return done


@test
def other_templates_by_the_tool(folder):
    path = write_rows(f"{folder}/odd.jsonl", ROWS)
    model = make_tokenizer(f"{folder}/odd", (), ODD.replace("trim", "groupby"))
    done = run("tokenize", model, path, "--mask", code=3)
    command = f"tools/render_chat.py {model} DATA OUTPUT"
    assert command in done.errors[0] and "odd.jsonl:1" in done.errors[0], done
    model = make_tokenizer(f"{folder}/odd", (), ODD)
    assert "3 rows, 0 left out, 0 where" in render_chat(model, path, f"{folder}/made.jsonl").stdout
    made = read_rows(f"{folder}/made.jsonl")
    assert set(made[0]) == {"id", "prompt_text", "chosen_text", "rejected_text"} and \
        made[0]["id"] == 7 and made[1]["required"] == ["Four"], made
    assert made[1]["prompt_text"] == "[SYSTEM] You are a pirate.</s>\n[USER] 2+2?</s>\n[ASSISTANT] "
    assert made[1]["chosen_text"] == "Four.</s>", made
    for row, mask in zip(made, masks(model, f"{folder}/made.jsonl")):
        assert parts(model, mask) == [row["prompt_text"], row["chosen_text"]], (row, mask)
    assert masks(model, path) == masks(model, f"{folder}/made.jsonl") # the program runs it as well
    assert run("inspect", f"{folder}/made.jsonl", "--json").out.find('"pairs"') > 0


@test
def the_tool_and_the_renderers_agree(folder):
    """What the tool makes of a known format's template gives the tokens that the program gives."""
    for chat_format, template in (("llama3", LLAMA3), ("zephyr", ZEPHYR), ("llama2", LLAMA2)):
        model = make_tokenizer(f"{folder}/{chat_format}", SPECIAL, template)
        path = write_rows(f"{folder}/{chat_format}.jsonl", ROWS)
        render_chat(model, path, f"{folder}/{chat_format}.made.jsonl")
        assert masks(model, f"{folder}/{chat_format}.made.jsonl") == masks(model, path, chat_format)


@test
def rows_that_the_tool_leaves_out(folder):
    """A conversation whose system message moves is searched for its answer; refusals are named."""
    template = mistral("", "", "", "m.content", "last")
    model = make_tokenizer(f"{folder}/moves", ["[INST]", "[/INST]"], template)
    rows = [{"messages": [SYSTEM, USER, ANSWER]}, {"messages": [USER, USER, ANSWER]},
            {"messages": [USER, ANSWER]}, {"text": "plain"}, {"messages": [SYSTEM, USER]}]
    path = write_rows(f"{folder}/moves.jsonl", rows)
    done = render_chat(model, path, f"{folder}/moved.jsonl")
    assert "3 rows, 2 left out, 1 where" in done.stdout, done
    assert "moves.jsonl:2: left out: the template refuses it: After the optional" in done.stderr
    made = read_rows(f"{folder}/moved.jsonl")
    assert made == [{"prompt_text": "<s>[INST]You are a pirate. \n\nHi[/INST]",
                     "response_text": "Arr! </s>"},
                    {"prompt_text": "<s>[INST]Hi[/INST]", "response_text": "Arr! </s>"},
                    {"text": "plain"}], made
    assert parts(model, masks(model, f"{folder}/moved.jsonl")[0]) == \
        [made[0]["prompt_text"], made[0]["response_text"]]
    write(f"{folder}/bad.jsonl", "{}\n{")
    assert "bad.jsonl:2" in render_chat(model, f"{folder}/bad.jsonl", f"{folder}/x", 1).stderr


if __name__ == "__main__":
    main(TESTS)

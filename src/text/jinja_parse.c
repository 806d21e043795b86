/* Parses chat templates: the grammar of Jinja2 as far as templates use it. What isn't read here is
 * refused by its name, since a part passed over would write another text. */
#include "text/jinja_parse_impl.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ald/base/arena.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "text/jinja_filter_impl.h"
#include "text/jinja_method_impl.h"
#include "text/jinja_source_impl.h"
#include "text/jinja_value_impl.h"
#include "text/unicode_impl.h"

typedef ald_jinja_node_t node_t;

typedef enum { TOKEN_END, TOKEN_NAME, TOKEN_STRING, TOKEN_NUMBER, TOKEN_MARK } token_kind_t;

typedef struct {
    token_kind_t kind;
    const char *from;
    size_t length;
    node_t *constant; /* of STRING and NUMBER */
} token_t;

typedef struct {
    ald_arena_t *arena;
    ald_jinja_source_t source;
    ald_jinja_piece_t piece; /* the one being read */
    const char *at;          /* within a tag: behind the token */
    token_t token;           /* the next one of the tag */
    int depth, loops;        /* of expressions and bodies; of loops */
} parser_t;

enum { DEEPEST = 200 };

static ald_status_t parse_expression(parser_t *parser, node_t **out);
static ald_status_t parse_unary(parser_t *parser, bool filters, node_t **out);
static ald_status_t parse_body(parser_t *parser, const char *ends, node_t **out);

/* --- tokens ------------------------------------------------------------------------------- */

/* Raises an error at the token. */
static ald_status_t refuse(const parser_t *parser, const char *what)
{
    int line = 1;
    const char *to = parser->piece.from;
    for (const char *p = parser->source.lines; p < to; ++p)
        line += *p == '\n';
    int length = parser->token.length > 40 ? 40 : (int)parser->token.length;
    while (length > 0 && ((unsigned char)parser->token.from[length] & 0xC0) == 0x80)
        --length; /* not within a character */
    return ald_status_raise(ALD_STATUS_INPUT, "line %d: %s%s%.*s%s", line, what,
                            length > 0 ? ", found '" : "", length,
                            length > 0 ? parser->token.from : "", length > 0 ? "'" : "");
}

#define EXPECT(condition, what)                                                                    \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            status = refuse(parser, what);                                                         \
            goto done;                                                                             \
        }                                                                                          \
    } while (0)

static ald_status_t make(parser_t *parser, ald_jinja_node_kind_t kind, node_t **out)
{
    void *node = NULL;
    const ald_status_t status = ald_jinja_alloc(parser->arena, 1, sizeof **out, &node);
    *out = node;
    if (node != NULL)
        (*out)->kind = kind;
    return status;
}

static ald_status_t make_two(parser_t *parser, ald_jinja_node_kind_t kind, node_t *a, node_t *b,
                             node_t **out)
{
    ald_status_t status = ALD_STATUS_OK;
    node_t *node = NULL;
    ALD_TRY(make(parser, kind, &node));
    node->a = a;
    node->b = b;
    *out = node;
done:
    return status;
}

static ald_status_t copy_name(parser_t *parser, const char *text, size_t length, const char **out)
{
    ald_status_t status = ALD_STATUS_OK;
    *out = ald_arena_strdup(parser->arena, text, length);
    ALD_CHECK_MEMORY(*out, length);
done:
    return status;
}

static ald_status_t read_string(parser_t *parser)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_vec_t text;
    const char quote = *parser->at, *p = parser->at + 1, *end = parser->piece.to, *copy = NULL;
    ald_vec_init(&text, 1);
    while (p < end && *p != quote) {
        if (*p != '\\' || p + 1 == end) {
            ALD_TRY(ald_vec_append(&text, p++, 1));
            continue;
        }
        ++p;
        const ald_jinja_escape_t escape = ald_jinja_escape(&p, end);
        EXPECT(escape.known, "an escape that isn't known");
        ALD_TRY(ald_vec_append(&text, escape.bytes, escape.length));
    }
    EXPECT(p < end, "a string without its end");
    parser->token.length = (size_t)(p + 1 - parser->at);
    ALD_TRY(make(parser, ALD_JINJA_CONSTANT, &parser->token.constant));
    ALD_TRY(copy_name(parser, text.count == 0 ? "" : text.data, text.count, &copy));
    parser->token.constant->value = ald_jinja_string(copy, text.count);
done:
    ald_vec_reset(&text);
    return status;
}

static ald_status_t read_number(parser_t *parser)
{
    ald_status_t status = ALD_STATUS_OK;
    char *end = NULL;
    const char *p = parser->at;
    size_t length = 0;
    bool real = false;
    for (; p + length < parser->piece.to; ++length) {
        if (p[length] == '.' && p + length + 1 < parser->piece.to &&
            isdigit((unsigned char)p[length + 1]))
            real = true;
        else if (!isdigit((unsigned char)p[length]))
            break;
    }
    parser->token.length = length;
    EXPECT(length < 18 && (p + length == parser->piece.to || !strchr("_eExXoObB", p[length])),
           "a number of another form");
    ALD_TRY(make(parser, ALD_JINJA_CONSTANT, &parser->token.constant));
    parser->token.constant->value = ald_jinja_integer(strtoll(p, &end, 10));
    if (real) {
        parser->token.constant->value.kind = ALD_JINJA_REAL;
        parser->token.constant->value.real = strtod(p, &end);
    }
    EXPECT(end == p + length, "a number of another form");
done:
    return status;
}

static bool is_word(char c)
{
    return isalnum((unsigned char)c) || c == '_';
}

/* Moves to the next token of the tag. */
static ald_status_t advance(parser_t *parser)
{
    static const char *const marks[] = {"==", "!=", "<=", ">=", "//", "**", "<", ">", "=",
                                        "+",  "-",  "*",  "/",  "%",  "~",  "|", "(", ")",
                                        "[",  "]",  "{",  "}",  ",",  ".",  ":"};
    ald_status_t status = ALD_STATUS_OK;
    const char *end = parser->piece.to;
    while (parser->at < end && isspace((unsigned char)*parser->at))
        ++parser->at;
    parser->token = (token_t){.from = parser->at};
    if (parser->at == end)
        return status;
    parser->token.length = 1;
    if (*parser->at == '\'' || *parser->at == '"') {
        parser->token.kind = TOKEN_STRING;
        ALD_TRY(read_string(parser));
    } else if (isdigit((unsigned char)*parser->at)) {
        parser->token.kind = TOKEN_NUMBER;
        ALD_TRY(read_number(parser));
    } else if (is_word(*parser->at)) {
        parser->token.kind = TOKEN_NAME;
        while (parser->at + parser->token.length < end && is_word(parser->at[parser->token.length]))
            ++parser->token.length;
    } else {
        for (size_t i = 0; parser->token.kind == TOKEN_END && i < sizeof marks / sizeof *marks; ++i)
            if (strlen(marks[i]) <= (size_t)(end - parser->at) &&
                memcmp(parser->at, marks[i], strlen(marks[i])) == 0) {
                parser->token.kind = TOKEN_MARK;
                parser->token.length = strlen(marks[i]);
            }
        if (parser->token.kind != TOKEN_MARK)
            ald_utf8_next(parser->at, (size_t)(end - parser->at), &parser->token.length);
        EXPECT(parser->token.kind == TOKEN_MARK, "a character that isn't known");
    }
    parser->at += parser->token.length;
done:
    return status;
}

static bool is(const parser_t *parser, const char *text)
{
    return (parser->token.kind == TOKEN_MARK || parser->token.kind == TOKEN_NAME) &&
           parser->token.length == strlen(text) &&
           memcmp(parser->token.from, text, parser->token.length) == 0;
}

/* Whether the token is one of the words in `words`, which are between spaces. */
static bool is_among(const parser_t *parser, const char *words)
{
    char word[40];
    if (parser->token.length > sizeof word - 3 || parser->token.kind != TOKEN_NAME)
        return false;
    snprintf(word, sizeof word, " %.*s ", (int)parser->token.length, parser->token.from);
    return strstr(words, word) != NULL;
}

static ald_status_t take(parser_t *parser, const char *text)
{
    ald_status_t status = ALD_STATUS_OK;
    char expected[48];
    snprintf(expected, sizeof expected, "expected '%s'", text);
    EXPECT(is(parser, text), expected);
    ALD_TRY(advance(parser));
done:
    return status;
}

static ald_status_t take_name(parser_t *parser, const char **out)
{
    ald_status_t status = ALD_STATUS_OK;
    EXPECT(parser->token.kind == TOKEN_NAME, "expected a name");
    ALD_TRY(copy_name(parser, parser->token.from, parser->token.length, out));
    ALD_TRY(advance(parser));
done:
    return status;
}

/* Whether the token is a name with a single = behind it. */
static bool is_keyword(const parser_t *parser)
{
    const char *p = parser->at;
    while (p < parser->piece.to && isspace((unsigned char)*p))
        ++p;
    return parser->token.kind == TOKEN_NAME && p < parser->piece.to && *p == '=' &&
           (p + 1 == parser->piece.to || p[1] != '=');
}

/* --- expressions -------------------------------------------------------------------------- */

/* Reads expressions, or name=expression where `keywords`, up to the mark `close`. */
static ald_status_t parse_list(parser_t *parser, const char *close, bool keywords, node_t **out)
{
    ald_status_t status = ALD_STATUS_OK;
    node_t **last = out;
    while (!is(parser, close)) {
        node_t *item = NULL;
        const char *name = NULL;
        if (keywords && is_keyword(parser)) {
            ALD_TRY(take_name(parser, &name));
            ALD_TRY(take(parser, "="));
        }
        EXPECT(!is(parser, "*") && !is(parser, "**"), "unpacked arguments aren't known");
        ALD_TRY(parse_expression(parser, &item));
        if (name != NULL)
            ALD_TRY(make_two(parser, ALD_JINJA_KEYWORD, item, NULL, &item));
        item->name = name != NULL ? name : item->name;
        EXPECT(item->next == NULL, "a list that isn't read");
        *last = item;
        last = &item->next;
        if (!is(parser, close))
            ALD_TRY(take(parser, ","));
    }
    ALD_TRY(advance(parser));
done:
    return status;
}

static ald_status_t parse_pairs(parser_t *parser, node_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    node_t **last = &out->a;
    ALD_TRY(advance(parser));
    while (!is(parser, "}")) {
        for (int i = 0; i < 2; ++i) {
            ALD_TRY(parse_expression(parser, last));
            last = &(*last)->next;
            if (i == 0)
                ALD_TRY(take(parser, ":"));
        }
        if (!is(parser, "}"))
            ALD_TRY(take(parser, ","));
    }
    ALD_TRY(advance(parser));
done:
    return status;
}

/* Reads what is between parentheses: an expression, or a tuple. */
static ald_status_t parse_parentheses(parser_t *parser, node_t **out)
{
    ald_status_t status = ALD_STATUS_OK;
    node_t *first = NULL;
    ALD_TRY(advance(parser));
    if (!is(parser, ")")) {
        ALD_TRY(parse_expression(parser, &first));
        if (is(parser, ")")) {
            *out = first;
            return advance(parser);
        }
        ALD_TRY(take(parser, ","));
    }
    ALD_TRY(make_two(parser, ALD_JINJA_TUPLE, first, NULL, out));
    ALD_TRY(parse_list(parser, ")", false, first == NULL ? &(*out)->a : &first->next));
done:
    return status;
}

/* Names that Jinja2 or transformers know and this doesn't. */
static const char unknown_names[] =
    " lipsum cycler joiner self super caller varargs kwargs pad_token unk_token sep_token "
    "cls_token mask_token additional_special_tokens _ gettext ngettext ";
static const char reserved[] =
    " if else elif endif for endfor in is and or not set endset recursive ";

static ald_status_t parse_name(parser_t *parser, node_t **out)
{
    static const char *const words[] = {"true", "True", "false", "False", "none", "None"};
    ald_status_t status = ALD_STATUS_OK;
    EXPECT(!is_among(parser, reserved), "expected an expression");
    EXPECT(!is_among(parser, unknown_names), "a variable that isn't known here");
    ALD_TRY(make(parser, ALD_JINJA_NAME, out));
    for (int i = 0; i < 6; ++i)
        if (is(parser, words[i])) {
            (*out)->kind = ALD_JINJA_CONSTANT;
            (*out)->value = ald_jinja_bool(i < 2);
            (*out)->value.kind = i < 4 ? ALD_JINJA_BOOL : ALD_JINJA_NONE;
        }
    ALD_TRY(take_name(parser, &(*out)->name));
done:
    return status;
}

/* Reads string literals, which are joined where several follow each other. */
static ald_status_t parse_strings(parser_t *parser, node_t **out)
{
    ald_status_t status = ALD_STATUS_OK;
    node_t *whole = parser->token.constant;
    ALD_TRY(advance(parser));
    while (parser->token.kind == TOKEN_STRING) {
        const ald_jinja_value_t *a = &whole->value, *b = &parser->token.constant->value;
        void *text = NULL;
        ALD_TRY(ald_jinja_alloc(parser->arena, a->length + b->length + 1, 1, &text));
        memcpy(text, a->text, a->length);
        memcpy((char *)text + a->length, b->text, b->length);
        whole->value = ald_jinja_string(text, a->length + b->length);
        ALD_TRY(advance(parser));
    }
    *out = whole;
done:
    return status;
}

static ald_status_t parse_primary(parser_t *parser, node_t **out)
{
    ald_status_t status = ALD_STATUS_OK;
    if (parser->token.kind == TOKEN_NAME)
        return parse_name(parser, out);
    if (parser->token.kind == TOKEN_STRING)
        return parse_strings(parser, out);
    if (parser->token.kind == TOKEN_NUMBER) {
        *out = parser->token.constant;
        return advance(parser);
    }
    if (is(parser, "("))
        return parse_parentheses(parser, out);
    EXPECT(is(parser, "[") || is(parser, "{"), "expected an expression");
    ALD_TRY(make(parser, is(parser, "[") ? ALD_JINJA_ITEMS : ALD_JINJA_PAIRS, out));
    if ((*out)->kind == ALD_JINJA_PAIRS)
        return parse_pairs(parser, *out);
    ALD_TRY(advance(parser));
    ALD_TRY(parse_list(parser, "]", false, &(*out)->a));
done:
    return status;
}

/* Reads what is in brackets behind a value: an index, or a slice. */
static ald_status_t parse_subscript(parser_t *parser, node_t **value)
{
    ald_status_t status = ALD_STATUS_OK;
    node_t *bounds[3] = {NULL}, *node = NULL;
    int count = 0;
    ALD_TRY(advance(parser));
    for (; !is(parser, "]"); ++count) {
        if (count > 0)
            ALD_TRY(take(parser, ":"));
        EXPECT(count < 3, "a slice of three bounds at most");
        if (!is(parser, ":") && !is(parser, "]"))
            ALD_TRY(parse_expression(parser, &bounds[count]));
    }
    EXPECT(count > 1 || bounds[0] != NULL, "an empty index");
    ALD_TRY(
        make_two(parser, count > 1 ? ALD_JINJA_SLICE : ALD_JINJA_ITEM, *value, bounds[0], &node));
    node->c = bounds[1];
    node->d = bounds[2];
    *value = node;
    ALD_TRY(advance(parser));
done:
    return status;
}

static ald_status_t parse_postfix(parser_t *parser, node_t **value)
{
    ald_status_t status = ALD_STATUS_OK;
    for (;;) {
        node_t *node = NULL;
        if (is(parser, "[")) {
            ALD_TRY(parse_subscript(parser, value));
        } else if (is(parser, ".")) {
            ALD_TRY(make_two(parser, ALD_JINJA_MEMBER, *value, NULL, &node));
            ALD_TRY(advance(parser));
            EXPECT(parser->token.kind == TOKEN_NAME, "expected a member's name");
            ALD_TRY(take_name(parser, &node->name));
            *value = node;
        } else if (is(parser, "(")) {
            EXPECT((*value)->kind == ALD_JINJA_NAME ||
                       ((*value)->kind == ALD_JINJA_MEMBER && ald_jinja_has_method((*value)->name)),
                   "a method that isn't known here is called");
            ALD_TRY(make_two(parser, ALD_JINJA_CALL, *value, NULL, &node));
            ALD_TRY(advance(parser));
            ALD_TRY(parse_list(parser, ")", true, &node->b));
            *value = node;
        } else {
            break;
        }
    }
done:
    return status;
}

/* Reads a test's argument without parentheses, if there is one. */
static ald_status_t parse_test_argument(parser_t *parser, node_t **out)
{
    ald_status_t status = ALD_STATUS_OK;
    const bool begins = parser->token.kind == TOKEN_STRING || parser->token.kind == TOKEN_NUMBER ||
                        is(parser, "[") || is(parser, "{") ||
                        (parser->token.kind == TOKEN_NAME && !is(parser, "is") &&
                         !is_among(parser, " else or and "));
    EXPECT(!is(parser, "is"), "a test of a test");
    if (begins) {
        ALD_TRY(parse_primary(parser, out));
        ALD_TRY(parse_postfix(parser, out));
    }
done:
    return status;
}

static ald_status_t parse_filters(parser_t *parser, node_t **value)
{
    ald_status_t status = ALD_STATUS_OK;
    for (;;) {
        node_t *node = NULL;
        bool negated = false;
        const bool filter = is(parser, "|");
        if (is(parser, "(")) {
            ALD_TRY(parse_postfix(parser, value));
            continue;
        }
        if (!filter && !is(parser, "is"))
            break;
        ALD_TRY(advance(parser));
        if (!filter && is(parser, "not")) {
            negated = true;
            ALD_TRY(advance(parser));
        }
        ALD_TRY(make_two(parser, filter ? ALD_JINJA_FILTER : ALD_JINJA_TEST, *value, NULL, &node));
        EXPECT(filter ? ald_jinja_has_filter(parser->token.from, parser->token.length)
                      : ald_jinja_has_test(parser->token.from, parser->token.length),
               filter ? "a filter that isn't known here" : "a test that isn't known here");
        ALD_TRY(take_name(parser, &node->name));
        if (is(parser, "(")) {
            ALD_TRY(advance(parser));
            ALD_TRY(parse_list(parser, ")", true, &node->b));
        } else if (!filter) {
            ALD_TRY(parse_test_argument(parser, &node->b));
        }
        *value = node;
        if (negated)
            ALD_TRY(make_two(parser, ALD_JINJA_NOT, node, NULL, value));
    }
done:
    return status;
}

static ald_status_t parse_unary(parser_t *parser, bool filters, node_t **out)
{
    ald_status_t status = ALD_STATUS_OK;
    if (is(parser, "-") || is(parser, "+")) {
        node_t *inner = NULL;
        const bool minus = is(parser, "-");
        ALD_TRY(advance(parser));
        EXPECT(++parser->depth < DEEPEST, "it is too deep");
        ALD_TRY(parse_unary(parser, false, &inner));
        --parser->depth;
        ALD_TRY(
            make_two(parser, minus ? ALD_JINJA_NEGATIVE : ALD_JINJA_POSITIVE, inner, NULL, out));
    } else {
        ALD_TRY(parse_primary(parser, out));
    }
    ALD_TRY(parse_postfix(parser, out));
    if (filters)
        ALD_TRY(parse_filters(parser, out));
done:
    return status;
}

/* The operators of two sides, the loosest first. */
static const char *const levels[][4] = {{"+", "-"}, {"~"}, {"*", "//", "/", "%"}, {"**"}};
enum { LEVELS = 4 };

static ald_status_t parse_binary(parser_t *parser, int level, node_t **out)
{
    ald_status_t status = ALD_STATUS_OK;
    if (level == LEVELS)
        return parse_unary(parser, true, out);
    ALD_TRY(parse_binary(parser, level + 1, out));
    for (int i = 0; i < 4 && levels[level][i] != NULL;) {
        node_t *right = NULL;
        const char *mark = levels[level][i];
        if (!is(parser, mark)) {
            ++i;
            continue;
        }
        ALD_TRY(advance(parser));
        ALD_TRY(parse_binary(parser, level + 1, &right));
        ALD_TRY(make_two(parser, level == 1 ? ALD_JINJA_CONCAT : ALD_JINJA_ARITHMETIC, *out, right,
                         out));
        (*out)->name = mark;
        i = 0;
    }
done:
    return status;
}

/* The operator of a comparison at the token, taken; NULL for none. */
static ald_status_t take_comparison(parser_t *parser, const char **out)
{
    static const char *const marks[] = {"==", "!=", "<=", ">=", "<", ">", "in"};
    ald_status_t status = ALD_STATUS_OK;
    *out = NULL;
    for (int i = 0; i < 7 && *out == NULL; ++i)
        if (is(parser, marks[i]))
            *out = marks[i];
    const char *p = parser->at;
    while (p < parser->piece.to && isspace((unsigned char)*p))
        ++p;
    if (is(parser, "not") && parser->piece.to - p > 2 && memcmp(p, "in", 2) == 0 &&
        !is_word(p[2])) {
        *out = "not in";
        ALD_TRY(advance(parser));
    }
    if (*out != NULL)
        ALD_TRY(advance(parser));
done:
    return status;
}

static ald_status_t parse_comparison(parser_t *parser, node_t **out)
{
    ald_status_t status = ALD_STATUS_OK;
    node_t *whole = NULL, **last = NULL;
    const char *mark = NULL;
    ALD_TRY(parse_binary(parser, 0, out));
    for (;;) {
        node_t *operand = NULL, *right = NULL;
        ALD_TRY(take_comparison(parser, &mark));
        if (mark == NULL)
            break;
        ALD_TRY(parse_binary(parser, 0, &right));
        ALD_TRY(make_two(parser, ALD_JINJA_KEYWORD, right, NULL, &operand));
        operand->name = mark;
        if (whole == NULL) {
            ALD_TRY(make_two(parser, ALD_JINJA_COMPARE, *out, NULL, &whole));
            last = &whole->b;
        }
        *last = operand;
        last = &operand->next;
    }
    *out = whole == NULL ? *out : whole;
done:
    return status;
}

static ald_status_t parse_not(parser_t *parser, node_t **out)
{
    ald_status_t status = ALD_STATUS_OK;
    if (!is(parser, "not"))
        return parse_comparison(parser, out);
    node_t *inner = NULL;
    ALD_TRY(advance(parser));
    EXPECT(++parser->depth < DEEPEST, "it is too deep");
    ALD_TRY(parse_not(parser, &inner));
    --parser->depth;
    ALD_TRY(make_two(parser, ALD_JINJA_NOT, inner, NULL, out));
done:
    return status;
}

static ald_status_t parse_logic(parser_t *parser, bool any, node_t **out)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_TRY(any ? parse_logic(parser, false, out) : parse_not(parser, out));
    while (is(parser, any ? "or" : "and")) {
        node_t *right = NULL;
        ALD_TRY(advance(parser));
        ALD_TRY(any ? parse_logic(parser, false, &right) : parse_not(parser, &right));
        ALD_TRY(make_two(parser, any ? ALD_JINJA_OR : ALD_JINJA_AND, *out, right, out));
    }
done:
    return status;
}

static ald_status_t parse_expression(parser_t *parser, node_t **out)
{
    ald_status_t status = ALD_STATUS_OK;
    EXPECT(++parser->depth < DEEPEST, "it is too deep");
    ALD_TRY(parse_logic(parser, true, out));
    while (is(parser, "if")) {
        node_t *choice = NULL;
        ALD_TRY(make_two(parser, ALD_JINJA_CHOICE, NULL, *out, &choice));
        ALD_TRY(advance(parser));
        ALD_TRY(parse_logic(parser, true, &choice->a));
        if (is(parser, "else")) {
            ALD_TRY(advance(parser));
            ALD_TRY(parse_expression(parser, &choice->c));
        }
        *out = choice;
    }
    --parser->depth;
done:
    return status;
}

/* Reads an expression, or several with commas, which are a tuple. */
static ald_status_t parse_tuple(parser_t *parser, node_t **out)
{
    ald_status_t status = ALD_STATUS_OK;
    node_t *tuple = NULL, **last = NULL;
    ALD_TRY(parse_expression(parser, out));
    if (!is(parser, ","))
        return status;
    ALD_TRY(make_two(parser, ALD_JINJA_TUPLE, *out, NULL, &tuple));
    last = &(*out)->next;
    while (is(parser, ",")) {
        ALD_TRY(advance(parser));
        if (parser->token.kind == TOKEN_END)
            break;
        ALD_TRY(parse_expression(parser, last));
        last = &(*last)->next;
    }
    *out = tuple;
done:
    return status;
}

/* --- statements --------------------------------------------------------------------------- */

static ald_status_t close_tag(parser_t *parser)
{
    ald_status_t status = ALD_STATUS_OK;
    EXPECT(parser->token.kind == TOKEN_END, "expected the end of the tag");
done:
    return status;
}

/* Reads the names that a loop or an assignment sets: one, several as a tuple, or NAME.MEMBER. */
static ald_status_t parse_target(parser_t *parser, node_t **out)
{
    ald_status_t status = ALD_STATUS_OK;
    node_t *tuple = NULL, **last = NULL;
    const bool open = is(parser, "(");
    if (open)
        ALD_TRY(advance(parser));
    EXPECT(parser->token.kind == TOKEN_NAME && !is_among(parser, reserved), "expected a name");
    ALD_TRY(make(parser, ALD_JINJA_NAME, out));
    ALD_TRY(take_name(parser, &(*out)->name));
    if (is(parser, ".")) {
        ALD_TRY(advance(parser));
        ALD_TRY(make_two(parser, ALD_JINJA_MEMBER, *out, NULL, out));
        return take_name(parser, &(*out)->name);
    }
    if (is(parser, ",")) {
        ALD_TRY(make_two(parser, ALD_JINJA_TUPLE, *out, NULL, &tuple));
        last = &(*out)->next;
        *out = tuple;
    }
    while (is(parser, ",")) {
        ALD_TRY(advance(parser));
        ALD_TRY(make(parser, ALD_JINJA_NAME, last));
        ALD_TRY(take_name(parser, &(*last)->name));
        last = &(*last)->next;
    }
    if (open)
        ALD_TRY(take(parser, ")"));
done:
    return status;
}

static ald_status_t parse_if(parser_t *parser, node_t **out)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_TRY(make(parser, ALD_JINJA_IF, out));
    ALD_TRY(parse_logic(parser, true, &(*out)->a));
    ALD_TRY(close_tag(parser));
    ALD_TRY(parse_body(parser, " elif else endif ", &(*out)->b));
    if (is(parser, "elif")) {
        EXPECT(++parser->depth < DEEPEST, "it is too deep");
        ALD_TRY(advance(parser));
        ALD_TRY(parse_if(parser, &(*out)->c));
        --parser->depth;
        return status;
    }
    if (is(parser, "else")) {
        ALD_TRY(advance(parser));
        ALD_TRY(close_tag(parser));
        ALD_TRY(parse_body(parser, " endif ", &(*out)->c));
    }
    ALD_TRY(take(parser, "endif"));
done:
    return status;
}

static ald_status_t parse_for(parser_t *parser, node_t **out)
{
    ald_status_t status = ALD_STATUS_OK;
    node_t *values = NULL;
    ALD_TRY(make(parser, ALD_JINJA_FOR, out));
    ALD_TRY(parse_target(parser, &(*out)->a));
    EXPECT((*out)->a->kind != ALD_JINJA_MEMBER, "a loop over a member");
    ALD_TRY(take(parser, "in"));
    ALD_TRY(parse_logic(parser, true, &values)); /* an `if` behind it belongs to the loop */
    EXPECT(!is(parser, ","), "a loop over a tuple without parentheses");
    (*out)->b = values;
    if (is(parser, "if")) {
        ALD_TRY(advance(parser));
        ALD_TRY(parse_expression(parser, &(*out)->d));
    }
    EXPECT(!is(parser, "recursive"), "recursive loops aren't known");
    ALD_TRY(close_tag(parser));
    ++parser->loops;
    ALD_TRY(parse_body(parser, " else endfor ", &(*out)->c));
    --parser->loops;
    if (is(parser, "else")) {
        ALD_TRY(advance(parser));
        ALD_TRY(close_tag(parser));
        ALD_TRY(parse_body(parser, " endfor ", &(*out)->e));
    }
    ALD_TRY(take(parser, "endfor"));
done:
    return status;
}

static ald_status_t parse_set(parser_t *parser, node_t **out)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_TRY(make(parser, ALD_JINJA_SET, out));
    ALD_TRY(parse_target(parser, &(*out)->a));
    if (is(parser, "=")) {
        ALD_TRY(advance(parser));
        return parse_tuple(parser, &(*out)->b);
    }
    EXPECT(!is(parser, "|"), "filters of a block aren't known");
    ALD_TRY(close_tag(parser));
    const int loops = parser->loops;
    parser->loops = 0;
    ALD_TRY(parse_body(parser, " endset ", &(*out)->c));
    parser->loops = loops;
    ALD_TRY(take(parser, "endset"));
done:
    return status;
}

static ald_status_t parse_macro(parser_t *parser, node_t **out)
{
    ald_status_t status = ALD_STATUS_OK;
    node_t **last = NULL;
    ALD_TRY(make(parser, ALD_JINJA_DEFINE, out));
    ALD_TRY(take_name(parser, &(*out)->name));
    ALD_TRY(take(parser, "("));
    last = &(*out)->b;
    while (!is(parser, ")")) {
        ALD_TRY(make(parser, ALD_JINJA_KEYWORD, last));
        ALD_TRY(take_name(parser, &(*last)->name));
        if (is(parser, "=")) {
            ALD_TRY(advance(parser));
            ALD_TRY(parse_expression(parser, &(*last)->a));
        }
        last = &(*last)->next;
        if (!is(parser, ")"))
            ALD_TRY(take(parser, ","));
    }
    ALD_TRY(advance(parser));
    ALD_TRY(close_tag(parser));
    const int loops = parser->loops;
    parser->loops = 0;
    ALD_TRY(parse_body(parser, " endmacro ", &(*out)->c));
    parser->loops = loops;
    ALD_TRY(advance(parser));
    if (parser->token.kind == TOKEN_NAME) /* endmacro may name it again */
        ALD_TRY(advance(parser));
done:
    return status;
}

/* Reads {% generation %}, which marks answers for a mask and changes nothing of the text. */
static ald_status_t parse_generation(parser_t *parser, node_t **out)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_TRY(make(parser, ALD_JINJA_SCOPE, out));
    ALD_TRY(close_tag(parser));
    ALD_TRY(parse_body(parser, " endgeneration ", &(*out)->c));
    ALD_TRY(take(parser, "endgeneration"));
done:
    return status;
}

static ald_status_t parse_statement(parser_t *parser, node_t **out)
{
    static const struct {
        const char *name;
        ald_status_t (*parse)(parser_t *parser, node_t **out);
    } statements[] = {{"if", parse_if},
                      {"for", parse_for},
                      {"set", parse_set},
                      {"macro", parse_macro},
                      {"generation", parse_generation}};
    ald_status_t status = ALD_STATUS_OK;
    const bool leaves = is(parser, "break"), goes_on = is(parser, "continue");
    for (size_t i = 0; i < sizeof statements / sizeof *statements; ++i)
        if (is(parser, statements[i].name)) {
            ALD_TRY(advance(parser));
            ALD_TRY(statements[i].parse(parser, out));
            return close_tag(parser);
        }
    EXPECT((leaves || goes_on) && parser->loops > 0, "a statement that isn't known here");
    ALD_TRY(make(parser, leaves ? ALD_JINJA_BREAK : ALD_JINJA_CONTINUE, out));
    ALD_TRY(advance(parser));
    ALD_TRY(close_tag(parser));
done:
    return status;
}

static ald_status_t parse_piece(parser_t *parser, node_t **out)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_jinja_piece_t *piece = &parser->piece;
    const char *copy = NULL;
    if (piece->kind == ALD_JINJA_PIECE_BLOCK)
        return parse_statement(parser, out);
    if (piece->kind == ALD_JINJA_PIECE_OUTPUT) {
        ALD_TRY(make(parser, ALD_JINJA_OUTPUT, out));
        ALD_TRY(parse_tuple(parser, &(*out)->a));
        return close_tag(parser);
    }
    if (piece->from == piece->to)
        return status;
    const size_t length = (size_t)(piece->to - piece->from);
    ALD_TRY(make(parser, ALD_JINJA_TEXT, out));
    ALD_TRY(copy_name(parser, piece->from, length, &copy));
    (*out)->value = ald_jinja_string(copy, length);
done:
    return status;
}

/* Reads statements up to a block whose name is one of `ends`, which stays the token; "" is the end
 * of the template. */
static ald_status_t parse_body(parser_t *parser, const char *ends, node_t **out)
{
    ald_status_t status = ALD_STATUS_OK;
    EXPECT(++parser->depth < DEEPEST, "it is too deep");
    for (node_t **last = out;;) {
        parser->piece = ald_jinja_source_next(&parser->source);
        parser->token = (token_t){0};
        EXPECT(parser->piece.kind != ALD_JINJA_PIECE_UNCLOSED, "a tag without its end");
        if (parser->piece.kind == ALD_JINJA_PIECE_END) {
            EXPECT(ends[0] == '\0', "the template ends within a block");
            break;
        }
        parser->at = parser->piece.from;
        if (parser->piece.kind != ALD_JINJA_PIECE_TEXT)
            ALD_TRY(advance(parser));
        if (parser->piece.kind == ALD_JINJA_PIECE_BLOCK && is_among(parser, ends))
            break;
        ALD_TRY(parse_piece(parser, last));
        if (*last != NULL)
            last = &(*last)->next;
    }
    --parser->depth;
done:
    return status;
}

ald_status_t ald_jinja_parse(const char *text, ald_arena_t *arena, ald_jinja_node_t **out)
{
    ald_status_t status = ALD_STATUS_OK;
    parser_t parser = {.arena = arena};
    *out = NULL;
    ALD_TRY(ald_jinja_source_open(text, &parser.source));
    ALD_TRY(parse_body(&parser, "", out));
done:
    ald_jinja_source_close(&parser.source);
    return status;
}

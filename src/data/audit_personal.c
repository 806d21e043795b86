/* Personal data by pattern: addresses, telephone numbers, and numbers of cards and accounts, whose
 * check digits tell them from other digits. Patterns find what looks so, not whose it is. */
#include <stdbool.h>
#include <string.h>

#include "ald/data/audit.h"
#include "data/audit_impl.h"

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_upper(char c)
{
    return c >= 'A' && c <= 'Z';
}

static bool is_alnum(char c)
{
    return is_digit(c) || is_upper(c) || (c >= 'a' && c <= 'z');
}

static bool is_one_of(char c, const char *set)
{
    return c != '\0' && strchr(set, c) != NULL;
}

/* The character at `at`, a space beyond the ends. */
static char at_or_space(ald_slice_t text, size_t at)
{
    return at < text.length ? text.data[at] : ' ';
}

static bool begins_word(ald_slice_t text, size_t at)
{
    return at == 0 || !is_alnum(text.data[at - 1]);
}

static bool is_top_level(ald_slice_t label)
{
    const bool coded = label.length > 4 && strncmp(label.data, "xn--", 4) == 0;
    for (size_t i = 0; i < label.length && !coded; ++i)
        if (is_digit(label.data[i]) || label.data[i] == '-')
            return false;
    return label.length >= 2;
}

/* Whether behind an @ comes a domain: labels with dots between, the last of two letters or more. A
 * hyphen may be the sentence's. */
static bool is_domain(ald_slice_t text, size_t at)
{
    size_t labels = 0, begin = at;
    for (; at <= text.length; ++at) {
        const char c = at_or_space(text, at);
        if (is_alnum(c) || (unsigned char)c >= 0x80)
            continue;
        const ald_slice_t label = {text.data + begin, at - begin};
        if (labels > 0 && c != '.' && is_top_level(label))
            return true;
        if (c == '-')
            continue;
        if (c != '.' || label.length == 0)
            return false;
        if (labels > 0 && !is_alnum(at_or_space(text, at + 1)))
            return is_top_level(label); /* the end of the sentence */
        ++labels;
        begin = at + 1;
    }
    return false;
}

bool ald_has_email(ald_slice_t text)
{
    for (size_t at = 1; at + 1 < text.length; ++at)
        if (text.data[at] == '@' &&
            (is_alnum(text.data[at - 1]) || is_one_of(text.data[at - 1], "._%+-")) &&
            is_domain(text, at + 1))
            return true;
    return false;
}

/* Reads digits from `at` on, at most `most`, with at most two of the characters of `between` before
 * each but the first. Returns the place behind the last digit. */
static size_t read_digits(ald_slice_t text, size_t at, const char *between, size_t most,
                          char *digits, size_t *count)
{
    size_t end = at, gap = 0;
    for (*count = 0; at < text.length && *count < most; ++at) {
        if (is_digit(text.data[at])) {
            digits[(*count)++] = text.data[at];
            end = at + 1;
            gap = 0;
        } else if (!is_one_of(text.data[at], between) || ++gap > 2) {
            break;
        }
    }
    return end;
}

/* "(212) 555-0123" or "212-555-0123", with dots or spaces between too. */
static bool is_domestic(ald_slice_t text, size_t at)
{
    static const char *const forms[] = {"(ddd) ddd-dddd", "(ddd)ddd-dddd", "ddd-ddd-dddd",
                                        "ddd.ddd.dddd", "ddd ddd dddd"};
    for (size_t f = 0; f < sizeof forms / sizeof forms[0]; ++f) {
        size_t i = 0;
        for (; forms[f][i] != '\0'; ++i) {
            const char c = at_or_space(text, at + i);
            if (forms[f][i] == 'd' ? !is_digit(c) : c != forms[f][i])
                break;
        }
        if (forms[f][i] == '\0' && !is_alnum(at_or_space(text, at + i)))
            return true;
    }
    return false;
}

bool ald_has_phone(ald_slice_t text)
{
    char digits[16];
    for (size_t at = 0; at < text.length; ++at) {
        size_t count = 0;
        if (!begins_word(text, at))
            continue;
        for (size_t most = 15; most >= 8 && text.data[at] == '+'; --most) {
            const size_t end = read_digits(text, at + 1, " -.()", most, digits, &count);
            if (is_digit(at_or_space(text, at + 1)) && count >= 8 &&
                !is_alnum(at_or_space(text, end)))
                return true;
        }
        if ((is_digit(text.data[at]) || text.data[at] == '(') && is_domestic(text, at))
            return true;
    }
    return false;
}

bool ald_luhn_holds(const char *digits, size_t count)
{
    int sum = 0;
    for (size_t i = 0; i < count; ++i) {
        int digit = digits[count - 1 - i] - '0';
        if (i % 2 == 1)
            digit = digit > 4 ? 2 * digit - 9 : 2 * digit;
        sum += digit;
    }
    return count > 0 && sum % 10 == 0;
}

/* Whether so many digits that begin so are of a network of cards. */
static bool is_network(const char *digits, size_t count)
{
    static const struct {
        int first, last; /* of the first four digits */
        size_t shortest, longest;
    } networks[] = {{2221, 2720, 16, 16}, {3000, 3059, 14, 14}, {3400, 3499, 15, 15},
                    {3528, 3589, 16, 16}, {3600, 3699, 14, 14}, {3700, 3799, 15, 15},
                    {3800, 3999, 14, 14}, {4000, 4999, 16, 16}, {5100, 5599, 16, 16},
                    {6011, 6011, 16, 16}, {6221, 6229, 16, 19}, {6440, 6599, 16, 16}};
    int begin = 0;
    for (int i = 0; i < 4; ++i)
        begin = begin * 10 + digits[i] - '0';
    for (size_t i = 0; i < sizeof networks / sizeof networks[0]; ++i)
        if (begin >= networks[i].first && begin <= networks[i].last)
            return count >= networks[i].shortest && count <= networks[i].longest;
    return false;
}

/* Digits of a network's number, by themselves or in groups; a date or a code may follow them. */
static bool begins_card(ald_slice_t text, size_t at)
{
    char digits[20];
    for (size_t most = 19; most >= 13; --most) {
        size_t count = 0;
        const size_t end = read_digits(text, at, " -", most, digits, &count);
        if (count == most && is_network(digits, count) && !is_alnum(at_or_space(text, end)) &&
            ald_luhn_holds(digits, count))
            return true;
    }
    return false;
}

bool ald_has_card(ald_slice_t text)
{
    for (size_t at = 0; at < text.length; ++at) {
        const bool decimals =
            at >= 2 && is_one_of(text.data[at - 1], ".,") && is_digit(text.data[at - 2]);
        if (text.data[at] >= '2' && text.data[at] <= '6' && begins_word(text, at) && !decimals &&
            begins_card(text, at))
            return true;
    }
    return false;
}

bool ald_iban_holds(const char *text, size_t length)
{
    int rest = 0;
    if (length < 15 || length > 34 || !is_upper(text[0]) || !is_upper(text[1]) ||
        !is_digit(text[2]) || !is_digit(text[3]))
        return false;
    for (size_t i = 0; i < length; ++i) { /* the first four come last, letters count from 10 */
        const char c = text[(i + 4) % length];
        if (!is_digit(c) && !is_upper(c))
            return false;
        rest = is_digit(c) ? (rest * 10 + c - '0') % 97 : (rest * 100 + c - 'A' + 10) % 97;
    }
    return rest == 1;
}

/* An IBAN may be written in groups, and a word in capitals may follow it: every end of a group is
 * tried. */
static bool begins_iban(ald_slice_t text, size_t at)
{
    char plain[34];
    size_t count = 0;
    for (; at < text.length && count < sizeof plain; ++at) {
        const char c = text.data[at];
        if (c == ' ' && is_alnum(at_or_space(text, at + 1)))
            continue;
        if (!is_digit(c) && !is_upper(c))
            break;
        plain[count++] = c;
        if (!is_alnum(at_or_space(text, at + 1)) && ald_iban_holds(plain, count))
            return true;
    }
    return false;
}

bool ald_has_iban(ald_slice_t text)
{
    for (size_t at = 0; at + 15 <= text.length; ++at)
        if (is_upper(text.data[at]) && is_upper(text.data[at + 1]) && is_digit(text.data[at + 2]) &&
            is_digit(text.data[at + 3]) && begins_word(text, at) && begins_iban(text, at))
            return true;
    return false;
}

static const struct {
    ald_reason_t reason;
    bool (*has)(ald_slice_t);
} kinds[] = {{ALD_REASON_EMAIL, ald_has_email},
             {ALD_REASON_PHONE, ald_has_phone},
             {ALD_REASON_CARD, ald_has_card},
             {ALD_REASON_IBAN, ald_has_iban}};

static void look_at(ald_slice_t text, ald_audit_row_t *out)
{
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0] && text.length > 0; ++k)
        ald_audit_set(out, kinds[k].reason, kinds[k].has(text));
}

/* Looks at all texts within a value. The depth of JSON that is read is bounded. */
static void look_within(const ald_json_t *value, ald_audit_row_t *out)
{
    void *at = NULL;
    const char *key;
    const ald_json_t *member;
    ald_slice_t text = {NULL, 0};
    text.data = ald_json_text(value, &text.length);
    if (text.data != NULL)
        look_at(text, out);
    for (size_t i = 0; ald_json_is_array(value) && i < ald_json_count(value); ++i)
        look_within(ald_json_at(value, i), out);
    while (ald_json_is_object(value) && ald_json_next(value, &at, &key, &member))
        look_within(member, out);
}

void ald_audit_personal(const ald_audit_texts_t *texts, ald_audit_row_t *out)
{
    if (texts->skip != ALD_SKIP_NONE) { /* its texts weren't told apart */
        look_within(texts->row, out);
        return;
    }
    look_at((ald_slice_t){texts->prompt.data, texts->prompt.count}, out);
    for (int i = 0; i < 2; ++i)
        look_at(texts->answer[i], out);
}

/* Tells which members of a row aren't read, and puts a system message where it belongs. A dataset's
 * author expects of a member that it counts; one that doesn't is to be heard of. */
#include "ald/data/members.h"

#include <string.h>

#include "ald/base/json.h"
#include "ald/base/status.h"
#include "ald/config/choices.h"

/* A bit for each layout, under its short name in ALD_MEMBERS. */
#define BIT(layout) (1u << ALD_LAYOUT_##layout)
enum {
    ULTRAFEEDBACK = BIT(ULTRAFEEDBACK), /* whose "messages" are its chosen ones */
    PLAIN = BIT(PAIRS) | BIT(PROMPTS) | ULTRAFEEDBACK,
    SHAREGPT = BIT(SHAREGPT),
    ALPACA = BIT(ALPACA),
    MESSAGES = BIT(MESSAGES),
    COMPLETION = BIT(COMPLETION),
    MT_BENCH = BIT(MT_BENCH),
    ARENA_HARD = BIT(ARENA_HARD),
    ALPACA_EVAL = BIT(ALPACA_EVAL),
    ANSWERED = PLAIN | BIT(IMPLICIT) | BIT(HH) | SHAREGPT | ALPACA | MESSAGES,
    TALKS = ANSWERED | COMPLETION,
};

static const struct {
    const char *name;
    unsigned layouts;
    const char *unless;
} members[ALD_MEMBER_COUNT] = {
#define MEMBER(constant, name, layouts, unless) {name, layouts, unless},
    ALD_MEMBERS(MEMBER)
#undef MEMBER
};

const char *ald_member_name(ald_member_t member)
{
    return members[member].name;
}

static bool is_empty(const ald_json_t *value)
{
    size_t length = 0;
    const char *text = ald_json_text(value, &length);
    if (ald_json_is_array(value) || ald_json_is_object(value))
        return ald_json_count(value) == 0;
    return ald_json_is_null(value) || (text != NULL && length == 0);
}

unsigned ald_members_unread(ald_layout_t layout, const ald_json_t *row)
{
    unsigned unread = 0;
    for (unsigned i = 0; i < ALD_MEMBER_COUNT; ++i) {
        bool read = (members[i].layouts & 1u << layout) != 0 &&
                    (members[i].unless[0] == '\0' || ald_json_get(row, members[i].unless) == NULL);
        if (!read && !is_empty(ald_json_get(row, members[i].name)))
            unread |= 1u << i;
    }
    return unread;
}

ald_json_t *ald_row_with(const ald_json_t *object, const char *key, ald_json_t *value)
{
    void *iterator = NULL;
    const char *name = NULL;
    const ald_json_t *member = NULL;
    ald_json_t *made = ald_json_new_object();
    while (ald_json_next(object, &iterator, &name, &member))
        if (strcmp(name, key) != 0)
            ald_json_set(made, name, ald_json_share(member));
    ald_json_set(made, key, value);
    return made;
}

static bool is_role(const ald_json_t *message, const char *role)
{
    const char *text = ald_json_text(ald_json_get(message, "role"), NULL);
    return text != NULL && strcmp(text, role) == 0;
}

static ald_json_t *message_of(const char *role, ald_json_t *content)
{
    ald_json_t *message = ald_json_new_object();
    ald_json_set(message, "role", ald_json_new_string(role));
    ald_json_set(message, "content", content);
    return message;
}

/* The prompt with a system message before it. */
static ald_json_t *with_system(const ald_json_t *prompt, const ald_json_t *system)
{
    ald_json_t *list = ald_json_new_array();
    ald_json_push(list, message_of("system", ald_json_share(system)));
    if (ald_json_is_string(prompt))
        ald_json_push(list, message_of("user", ald_json_share(prompt)));
    for (size_t i = 0; i < ald_json_count(prompt); ++i)
        ald_json_push(list, ald_json_share(ald_json_at(prompt, i)));
    return list;
}

ald_status_t ald_system_put(ald_layout_t layout, const ald_json_t *row, ald_json_t **made,
                            bool *unread)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_json_t *base = *made != NULL ? *made : row, *prompt = ald_json_get(base, "prompt"),
                     *system = ald_json_get(row, "system"), *first = ald_json_at(prompt, 0);
    *unread = false;
    if ((TALKS & 1u << layout) == 0)
        return status; /* ald_members_unread has it */
    ALD_CHECK(ald_json_is_null(system) || ald_json_is_string(system), ALD_STATUS_INPUT,
              "\"system\": expected a string, found %s", ald_json_type_name(system));
    if (is_empty(system))
        return status;
    bool rendered = !ald_json_is_null(ald_json_get(row, "prompt_text")) ||
                    !ald_json_is_null(ald_json_get(row, "prompt_ids"));
    *unread = rendered || prompt == NULL || is_role(first, "system");
    if (is_role(first, "system")) {
        size_t a = 0, b = 0;
        const char *text = ald_json_text(system, &a),
                   *own = ald_json_text(ald_json_get(first, "content"), &b);
        *unread = rendered || own == NULL || a != b || memcmp(text, own, a) != 0;
    }
    if (rendered || (!ald_json_is_string(prompt) && ald_json_count(prompt) == 0) ||
        is_role(first, "system"))
        return status;
    ald_json_t *changed = ald_row_with(base, "prompt", with_system(prompt, system));
    ald_json_free(*made);
    *made = changed;
done:
    return status;
}

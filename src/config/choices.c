/* The choices of the configuration as texts. They are compared here and nowhere else; the rest of
 * the program has the enums, which a compiler can check. */
#include "ald/config/choices.h"

#include <stddef.h>
#include <string.h>

typedef struct {
    const char *text;
    unsigned value;
} choice_t;

enum { CHOICES_MOST = 14 }; /* rows of the longest list, 13, and one that ends it */

#define CHOICE(constant, value, text) {text, constant},
#define LIST(list)                    [ALD_CHOICES_##list] = {ALD_##list(CHOICE)},
static const choice_t lists[ALD_CHOICES_COUNT][CHOICES_MOST] = {ALD_CHOICE_LISTS(LIST)};
#undef LIST
#undef CHOICE

#define CHOICE(constant, value, text) "|" text
#define LIST(list)                    [ALD_CHOICES_##list] = ALD_##list(CHOICE),
static const char *const names[ALD_CHOICES_COUNT] = {[ALD_CHOICES_NONE] = "|",
                                                     ALD_CHOICE_LISTS(LIST)};
#undef LIST
#undef CHOICE

const char *ald_choice_name(ald_choices_t list, unsigned value)
{
    const choice_t *choice = lists[list];
    while (choice->text != NULL && choice->value != value)
        ++choice;
    return choice->text;
}

bool ald_choice_find(ald_choices_t list, const char *text, unsigned *value)
{
    const choice_t *choice = lists[list];
    while (choice->text != NULL && strcmp(choice->text, text) != 0)
        ++choice;
    if (choice->text != NULL)
        *value = choice->value;
    return choice->text != NULL;
}

const char *ald_choice_names(ald_choices_t list)
{
    return names[list] + 1; /* without the bar that the first choice begins with */
}

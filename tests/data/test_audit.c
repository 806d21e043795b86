/* What the audit measures with: MinHash against exact similarities, check digits on published
 * examples, patterns of personal data, and the table of scripts against PCRE2's. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "ald/base/rng.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/data/minhash.h"
#include "ald/text/words.h"
#include "data/audit_impl.h"
#include "text/unicode_impl.h"

/* --- MinHash --------------------------------------------------------------------------------- */

/* Two sets with `shared` members of both and `own` of each alone. */
static void make_sets(uint64_t seed, size_t shared, size_t own, ald_vec_t sets[2])
{
    for (int k = 0; k < 2; ++k) {
        ald_vec_init(&sets[k], sizeof(uint64_t));
        for (size_t i = 0; i < shared + own; ++i) {
            const uint64_t value = ald_rng_mix(seed, i < shared ? i : (uint64_t)(k + 1) << 32 | i);
            assert_int_equal(ald_vec_push(&sets[k], &value), ALD_STATUS_OK);
        }
        ald_grams_sort(&sets[k]);
    }
}

static double estimate(const ald_minhash_t *minhash, ald_vec_t sets[2])
{
    uint32_t signature[2][ALD_MINHASH_MOST];
    int64_t same = 0, all = minhash->bands * minhash->rows;
    for (int k = 0; k < 2; ++k)
        ald_minhash_sign(minhash, &sets[k], signature[k]);
    for (int64_t i = 0; i < all; ++i)
        same += signature[0][i] == signature[1][i];
    return (double)same / (double)all;
}

static void signatures_estimate_the_similarity(void **state)
{
    static const size_t counts[][2] = {{0, 50}, {20, 60}, {50, 25}, {200, 50}, {95, 3}, {80, 0}};
    enum { TRIALS = 40 };
    ald_minhash_t minhash;
    (void)state;
    ald_minhash_init(32, 8, &minhash);
    for (size_t c = 0; c < sizeof counts / sizeof counts[0]; ++c) {
        double sum = 0.0, exact = 0.0;
        for (uint64_t t = 0; t < TRIALS; ++t) {
            ald_vec_t sets[2];
            make_sets(1000 * c + t, counts[c][0], counts[c][1], sets);
            exact = ald_grams_jaccard(&sets[0], &sets[1]);
            sum += estimate(&minhash, sets);
            for (int k = 0; k < 2; ++k)
                ald_vec_reset(&sets[k]);
        }
        const double own = (double)counts[c][1], shared = (double)counts[c][0];
        assert_true(fabs(exact - shared / (shared + 2.0 * own)) < 1e-12);
        const double sigma = sqrt(exact * (1.0 - exact) / (256.0 * TRIALS));
        assert_true(fabs(sum / TRIALS - exact) <= 3.0 * sigma);
    }
}

/* How often two sets share a band, against 1 - (1 - s^rows)^bands. */
static void bands_are_shared_as_the_curve_says(void **state)
{
    static const size_t counts[][2] = {{60, 20}, {70, 15}, {80, 10}};
    enum { TRIALS = 600 };
    ald_minhash_t minhash;
    (void)state;
    ald_minhash_init(14, 8, &minhash);
    for (size_t c = 0; c < sizeof counts / sizeof counts[0]; ++c) {
        int64_t shared = 0;
        double exact = 0.0;
        for (uint64_t t = 0; t < TRIALS; ++t) {
            ald_vec_t sets[2];
            uint32_t signature[2][ALD_MINHASH_MOST];
            bool any = false;
            make_sets(77000 * (c + 1) + t, counts[c][0], counts[c][1], sets);
            exact = ald_grams_jaccard(&sets[0], &sets[1]);
            for (int k = 0; k < 2; ++k)
                ald_minhash_sign(&minhash, &sets[k], signature[k]);
            for (int64_t b = 0; b < 14; ++b)
                any = any || ald_minhash_band(&minhash, signature[0], b) ==
                                 ald_minhash_band(&minhash, signature[1], b);
            shared += any;
            for (int k = 0; k < 2; ++k)
                ald_vec_reset(&sets[k]);
        }
        const double p = ald_minhash_probability(exact, 14, 8);
        assert_true(fabs((double)shared / TRIALS - p) <= 3.0 * sqrt(p * (1.0 - p) / TRIALS));
    }
    assert_true(fabs(ald_minhash_probability(0.8, 14, 8) - 0.924) < 5e-4);
}

static void grams_of_short_texts(void **state)
{
    static const struct {
        const char *text;
        int64_t n;
        size_t words, grams;
    } cases[] = {{"", 5, 0, 0},
                 {"One, two!", 5, 2, 1},
                 {"a b c d e f", 5, 6, 2},
                 {"\xE6\x97\xA5\xE6\x9C\xAC\xE8\xAA\x9E ok", 2, 4, 3},
                 {"na\xC3\xAFve caf\xC3\xA9_9", 1, 2, 2}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
        ald_vec_t words, grams;
        ald_vec_init(&words, sizeof(uint64_t));
        ald_vec_init(&grams, sizeof(uint64_t));
        assert_int_equal(ald_words_hash(cases[i].text, strlen(cases[i].text), &words), 0);
        assert_int_equal(ald_grams_make(&words, cases[i].n, &grams), ALD_STATUS_OK);
        assert_int_equal(words.count, cases[i].words);
        assert_int_equal(grams.count, cases[i].grams);
        ald_vec_reset(&words);
        ald_vec_reset(&grams);
    }
}

/* --- personal data --------------------------------------------------------------------------- */

/* Luhn: the example of ISO/IEC 7812 and test numbers that networks publish. IBAN: the examples of
 * the registry of ISO 13616. */
static void check_digits_of_published_examples(void **state)
{
    static const char *const cards[] = {"79927398713",     "4111111111111111", "5555555555554444",
                                        "378282246310005", "6011111111111117", "30569309025904"};
    static const char *const ibans[] = {"GB82WEST12345698765432",          "DE89370400440532013000",
                                        "FR1420041010050500013M02606",     "NO9386011117947",
                                        "MT84MALT011000012345MTLCAST001S", "CH9300762011623852957"};
    char text[40];
    (void)state;
    for (size_t i = 0; i < sizeof cards / sizeof cards[0]; ++i) {
        const size_t length = strlen(cards[i]);
        assert_true(ald_luhn_holds(cards[i], length));
        for (size_t k = 0; k < length; ++k) { /* any one digit changed is seen */
            snprintf(text, sizeof text, "%s", cards[i]);
            text[k] = (char)('0' + (text[k] - '0' + 1) % 10);
            assert_false(ald_luhn_holds(text, length));
        }
    }
    for (size_t i = 0; i < sizeof ibans / sizeof ibans[0]; ++i) {
        const size_t length = strlen(ibans[i]);
        assert_true(ald_iban_holds(ibans[i], length));
        snprintf(text, sizeof text, "%s", ibans[i]);
        text[length - 1] = (char)(text[length - 1] == '0' ? '1' : '0');
        assert_false(ald_iban_holds(text, length));
    }
}

static void patterns_find_and_pass_over(void **state)
{
    static const struct {
        bool (*has)(ald_slice_t);
        const char *text;
        bool found;
    } cases[] = {
        {ald_has_email, "mail jo.doe+x@sub.example.org.", true},
        {ald_has_email, "a@b", false},
        {ald_has_email, "see @example.com and 3@4.5", false},
        {ald_has_email, "@", false},
        {ald_has_email, "joe@example.org- thanks", true},
        {ald_has_email, "joe@example.org-please", true},
        {ald_has_email, "joe@m\xC3\xBCller.de", true},
        {ald_has_email, "joe@example.xn--p1ai", true},
        {ald_has_email, "joe@co-op.example.com!", true},
        {ald_has_email, "x@1.2, y@a.b-c", false},
        {ald_has_phone, "(212) 555-0123", true},
        {ald_has_phone, "+44 20 7946 0958.", true},
        {ald_has_phone, "212-555-01234", false},
        {ald_has_phone, "1234567890", false},
        {ald_has_phone, "3 +1234", false},
        {ald_has_phone, "+49 170 1234567 2024-01-02", true},
        {ald_has_phone, "+1234567890123456", false},
        {ald_has_card, "pay 4111 1111 1111 1111 now", true},
        {ald_has_card, "4111111111111112", false},
        {ald_has_card, "card 4111 1111 1111 1111 12/27", true},
        {ald_has_card, "4111111111111111 123", true},
        {ald_has_card, "3782 822463 10005 1234", true},
        {ald_has_card, "value 0.4111111111111111", false},
        {ald_has_card, "x4111111111111111", false},
        {ald_has_card, "355909190063-746", false}, /* Luhn holds, but no network has 15 of 3559 */
        {ald_has_iban, "to GB82 WEST 1234 5698 7654 32 NOW", true},
        {ald_has_iban, "GB83 WEST 1234 5698 7654 32", false},
        {ald_has_iban, "GB82", false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i)
        if (cases[i].has(ald_slice(cases[i].text)) != cases[i].found)
            fail_msg("%s", cases[i].text);
}

/* --- scripts --------------------------------------------------------------------------------- */

static size_t put_utf8(uint32_t c, char *out)
{
    if (c < 0x80)
        return (size_t)(out[0] = (char)c, 1);
    const int more = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
    out[0] = (char)((0xFF00u >> (more + 1) & 0xFF) | c >> (6 * more));
    for (int i = 1; i <= more; ++i)
        out[i] = (char)(0x80 | (c >> (6 * (more - i)) & 0x3F));
    return (size_t)more + 1;
}

static pcre2_code *compile(const char *pattern)
{
    int error;
    PCRE2_SIZE offset;
    pcre2_code *code =
        pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, PCRE2_UTF, &error, &offset, NULL);
    assert_non_null(code);
    return code;
}

/* Every letter of a script in the list, as PCRE2 has it, has that script in the table; but for the
 * signs of phonetics (U+1D00 to U+1DBF), which are of several. */
static void scripts_are_those_of_pcre2(void **state)
{
    pcre2_match_data *match = pcre2_match_data_create(1, NULL);
    int64_t compared = 0;
    (void)state;
    for (int s = ALD_SCRIPT_NONE + 1; s < ALD_SCRIPT_COUNT; ++s) {
        char pattern[128];
        const char *name = ald_script_name((ald_script_t)s);
        if (s == ALD_SCRIPT_KANA)
            snprintf(pattern, sizeof pattern, "^(?=\\p{L})[\\p{sc:Hiragana}\\p{sc:Katakana}]");
        else
            snprintf(pattern, sizeof pattern, "^(?=\\p{L})\\p{sc:%s}", name);
        pcre2_code *code = compile(pattern);
        for (uint32_t c = 0x41; c < 0x10000; ++c) {
            char text[4];
            if ((c >= 0xD800 && c < 0xE000) || (c >= 0x1D00 && c < 0x1DC0))
                continue;
            const size_t length = put_utf8(c, text);
            if (pcre2_match(code, (PCRE2_SPTR)text, length, 0, 0, match, NULL) < 0)
                continue;
            ++compared;
            if ((int)ald_script_of((int32_t)c) != s)
                fail_msg("U+%04X is %s, found %s", c, name,
                         ald_script_name(ald_script_of((int32_t)c)));
        }
        pcre2_code_free(code);
    }
    pcre2_match_data_free(match);
    assert_true(compared > 40000);
}

static void texts_have_a_main_script(void **state)
{
    static const struct {
        const char *text;
        ald_script_t script;
    } cases[] = {
        {"", ALD_SCRIPT_NONE},
        {"OK 12345", ALD_SCRIPT_NONE},
        {"Hello there", ALD_SCRIPT_LATIN},
        {"\xD0\x9F\xD1\x80\xD0\xB8\xD0\xB2\xD0\xB5\xD1\x82 ok", ALD_SCRIPT_CYRILLIC},
        {"\xE4\xBA\xBA\xE5\xB7\xA5\xE6\x99\xBA\xE8\x83\xBD", ALD_SCRIPT_HAN},
        /* Japanese: more Kanji than Kana */
        {"\xE6\x97\xA5\xE6\x9C\xAC\xE8\xAA\x9E\xE6\x96\x87\xE7\xAB\xA0\xE3\x81\xAE",
         ALD_SCRIPT_KANA},
        {"\xED\x95\x9C\xEA\xB5\xAD\xEC\x96\xB4\xEB\xA7\x90", ALD_SCRIPT_HANGUL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i)
        assert_int_equal(ald_script_main(cases[i].text, strlen(cases[i].text)), cases[i].script);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(signatures_estimate_the_similarity),
        cmocka_unit_test(bands_are_shared_as_the_curve_says),
        cmocka_unit_test(grams_of_short_texts),
        cmocka_unit_test(check_digits_of_published_examples),
        cmocka_unit_test(patterns_find_and_pass_over),
        cmocka_unit_test(scripts_are_those_of_pcre2),
        cmocka_unit_test(texts_have_a_main_script),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

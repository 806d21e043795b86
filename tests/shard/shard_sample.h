/* A small shard of each encoding, the same for the same arguments. */
#ifndef ALD_TESTS_SHARD_SAMPLE_H
#define ALD_TESTS_SHARD_SAMPLE_H

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "ald/base/rng.h"
#include "ald/base/status.h"
#include "ald/config/choices.h"
#include "ald/num/dtype.h"
#include "ald/shard/format.h"
#include "ald/shard/write.h"

enum { SAMPLE_V = 50, SAMPLE_H = 24, SAMPLE_K = 5, SAMPLE_LONGEST = 40 };

typedef struct {
    char prompt[64], response[64];
    int32_t ids[2 * SAMPLE_LONGEST], topk_id[SAMPLE_LONGEST * SAMPLE_K];
    float columns[9][SAMPLE_LONGEST], positive[SAMPLE_LONGEST], knots[2][3 * SAMPLE_LONGEST],
        wide[2][SAMPLE_LONGEST * SAMPLE_V];
    uint16_t hidden[2][SAMPLE_LONGEST * SAMPLE_H], halves[2][SAMPLE_LONGEST * SAMPLE_K];
} sample_memory_t;

/* Mixed bits and not the program's random numbers: those took a quarter of the time. */
static inline void sample_fill(float *out, int64_t count, uint64_t stream)
{
    for (int64_t i = 0; i < count; ++i) {
        uint64_t bits = (stream << 32 | (uint64_t)i) * 0x9E3779B97F4A7C15;
        bits = (bits ^ bits >> 29) * 0xBF58476D1CE4E5B9;
        out[i] = (float)(int)(bits >> 54) / 64 - 8; /* one of 1024 */
    }
}

/* Sequence i: lengths vary, one response is empty; values are exact in half precision. */
static inline ald_scored_t sample_sequence(int64_t i, ald_encoding_t encoding,
                                           sample_memory_t *memory)
{
    const int64_t P = 1 + i * 7 % SAMPLE_LONGEST, R = i * 11 % SAMPLE_LONGEST;
    ald_scored_t out = {
        .id = 1000 + i, .source = (ald_source_t)(i % 3), .prompt_count = P, .response_count = R};
    snprintf(memory->prompt, sizeof memory->prompt, "prompt %d \xC3\xA9", (int)i);
    snprintf(memory->response, sizeof memory->response, i == 1 ? "" : "response %d", (int)i);
    for (int t = 0; t < P + R; ++t)
        memory->ids[t] = (int32_t)(ald_rng_uniform(9, (uint64_t)i, (uint64_t)t) * SAMPLE_V);
    for (int c = 0; c < 9; ++c)
        sample_fill(memory->columns[c], R, (uint64_t)(100 * i + c));
    for (int t = 0; t < R; ++t) { /* distances */
        memory->columns[3][t] = (memory->columns[3][t] + 8) / 16;
        memory->columns[5][t] = (memory->columns[5][t] + 8) / 16;
    }
    for (int c = 0; c < 2; ++c) {
        sample_fill(memory->wide[c], R * SAMPLE_V, (uint64_t)(100 * i + 50 + c));
        sample_fill(memory->knots[c], 3 * R, (uint64_t)(100 * i + 60 + c));
        ald_f32_to_dtype(memory->wide[c], R * SAMPLE_K, ALD_DTYPE_F16, memory->halves[c]);
        for (int t = 0; t < R * SAMPLE_H; ++t)
            memory->hidden[c][t] = (uint16_t)(t * 31 + i * 7 + c);
    }
    for (int t = 0; t < R * SAMPLE_K; ++t)
        memory->topk_id[t] = (int32_t)((t * 13 + i) % SAMPLE_V);
    out.prompt = memory->prompt;
    out.response = memory->response;
    out.prompt_ids = memory->ids;
    out.response_ids = memory->ids + P;
    out.logprob_dpo = memory->columns[0];
    out.logprob_policy = out.source == ALD_SOURCE_POLICY ? memory->columns[2] : NULL;
    ald_contrasted_t *own = &out.contrast[ALD_CONTRAST_REVERSE];
    ald_contrasted_t *other = &out.contrast[ALD_CONTRAST_REFERENCE];
    own->logprob = memory->columns[1];
    own->tvd = memory->columns[3];
    other->logprob = memory->columns[4]; /* these where the header names a reference */
    other->tvd = memory->columns[5];
    other->full_log_ratio = other->hidden32 = memory->wide[0];
    other->topk_log_ratio = memory->halves[0];
    other->hidden = memory->hidden[0];
    other->tail = memory->columns[3];
    if (encoding == ALD_ENCODING_FULL) {
        out.full_logprob_dpo = memory->wide[0];
        own->full_log_ratio = memory->wide[1];
    } else if (encoding == ALD_ENCODING_HIDDEN) {
        out.hidden_dpo = memory->hidden[0];
        own->hidden = memory->hidden[1];
    } else if (encoding == ALD_ENCODING_HIDDEN32) {
        out.hidden32_dpo = memory->wide[0]; /* V is more than H */
        own->hidden32 = memory->wide[1];
    } else {
        out.topk_id = memory->topk_id;
        out.topk_logprob = memory->halves[0];
        own->topk_log_ratio = memory->halves[1];
        out.proposal_factor = memory->columns[6];
        for (int t = 0; t < R; ++t)
            memory->positive[t] = 0.5f + (float)t / 64;
        out.proposal_temperature = memory->positive;
        out.proposal_logz = memory->columns[8];
        out.tail_dpo = memory->columns[4];
        own->tail = memory->columns[5];
        own->alpha_max = memory->columns[6]; /* written where the header says certified */
        own->tail_ratio_min = memory->columns[7];
        own->tail_ratio_max = memory->columns[8];
        own->tail_mass = memory->knots[0];
        own->tail_least = memory->knots[1];
        other->alpha_max = memory->columns[5];
        other->tail_ratio_min = memory->columns[4];
        other->tail_ratio_max = memory->columns[3];
        other->tail_mass = memory->knots[1];
        other->tail_least = memory->knots[0];
    }
    return out;
}

static inline ald_shard_header_t sample_header(ald_encoding_t encoding)
{
    ald_shard_header_t header = {.encoding = encoding,
                                 .vocab_size = SAMPLE_V,
                                 .hidden_size = SAMPLE_H,
                                 .top_k = ald_encoding_has_k(encoding) ? SAMPLE_K : 0,
                                 .policy_step = -1,
                                 .seed = 17,
                                 .chat_format = "chatml",
                                 .tool_version = "test",
                                 .created = "2025-01-01T00:00:00Z",
                                 .config = "seed = 17;\n"};
    memset(header.dpo.sha256, 'a', 64);
    memset(header.contrasts[ALD_CONTRAST_REVERSE].sha256, 'b', 64);
    memset(header.sha256_tokenizer, 'c', 64);
    memset(header.sha256_data, 'd', 64);
    return header;
}

static inline ald_shard_header_t sample_certified(void)
{
    ald_shard_header_t header = sample_header(ALD_ENCODING_TOPK);
    header.certified = true;
    memset(header.contrasts[ALD_CONTRAST_REFERENCE].sha256, 'e', 64);
    return header;
}

static inline ald_shard_header_t sample_with_reference(ald_encoding_t encoding)
{
    ald_shard_header_t header = sample_header(encoding);
    memset(header.contrasts[ALD_CONTRAST_REFERENCE].sha256, 'e', 64);
    return header;
}

static inline ald_status_t sample_write_header(const char *path, const ald_shard_header_t *header,
                                               int64_t count)
{
    static sample_memory_t memory;
    ald_shard_writer_t *writer = NULL;
    ald_status_t status = ald_shard_writer_open(path, header, &writer);
    for (int64_t i = 0; i < count && status == ALD_STATUS_OK; ++i) {
        ald_scored_t sequence = sample_sequence(i, header->encoding, &memory);
        status = ald_shard_writer_append(writer, &sequence);
    }
    if (status == ALD_STATUS_OK)
        return ald_shard_writer_commit(writer);
    ald_shard_writer_discard(writer);
    return status;
}

static inline ald_status_t sample_write(const char *path, ald_encoding_t encoding, int64_t count,
                                        bool gzip)
{
    ald_shard_header_t header = sample_header(encoding);
    header.gzip = gzip;
    return sample_write_header(path, &header, count);
}

#endif

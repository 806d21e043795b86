/* TensorBoard's event files. Of protocol buffers there are five messages with a few fields each, so
 * they are written by hand: a field is its number and kind, then its value. */
#include "ald/record/events.h"

#include <endian.h>
#include <math.h>
#include <string.h>
#include <time.h>

#include "ald/base/arena.h"
#include "ald/base/file.h"
#include "ald/base/path.h"
#include "ald/base/status.h"
#include "ald/base/vec.h"
#include "ald/record/metrics.h"

struct ald_events {
    char *path;
};

/* --- records ---------------------------------------------------------------------------------- */

/* CRC-32C (Castagnoli; polynomial 0x1EDC6F41, reflected), bit by bit: an event has a few kilobytes.
 */
static uint32_t crc32c(const uint8_t *data, size_t size)
{
    uint32_t crc = 0xFFFFFFFF;
    for (size_t i = 0; i < size; ++i) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; ++bit)
            crc = (crc >> 1) ^ (0x82F63B78 & -(crc & 1));
    }
    return ~crc;
}

/* TFRecord's masking, which keeps a checksum of data with checksums in it useful. */
static uint32_t masked(const void *data, size_t size)
{
    const uint32_t crc = crc32c(data, size);
    return htole32(((crc >> 15) | (crc << 17)) + 0xA282EAD8);
}

enum { HEAD = 12, TAIL = 4 }; /* bytes around the data of a record */

static ald_status_t put_record(ald_vec_t *out, const ald_vec_t *data)
{
    ald_status_t status = ALD_STATUS_OK;
    const uint64_t length = htole64(data->count);
    const uint32_t head = masked(&length, sizeof length), tail = masked(data->data, data->count);
    ALD_TRY(ald_vec_append(out, &length, sizeof length));
    ALD_TRY(ald_vec_append(out, &head, sizeof head));
    ALD_TRY(ald_vec_append(out, data->data, data->count));
    ALD_TRY(ald_vec_append(out, &tail, sizeof tail));
done:
    return status;
}

/* The length of the whole record at `bytes`; 0 where there is none, or it is damaged. */
static size_t record_size(const uint8_t *bytes, size_t left)
{
    uint64_t length;
    uint32_t head, tail;
    if (left < HEAD + TAIL)
        return 0;
    memcpy(&length, bytes, sizeof length);
    memcpy(&head, bytes + sizeof length, sizeof head);
    if (head != masked(bytes, sizeof length) || le64toh(length) > left - HEAD - TAIL)
        return 0;
    length = le64toh(length);
    memcpy(&tail, bytes + HEAD + length, sizeof tail);
    return tail == masked(bytes + HEAD, length) ? HEAD + length + TAIL : 0;
}

/* --- fields ----------------------------------------------------------------------------------- */

typedef enum { KIND_VARINT = 0, KIND_DOUBLE = 1, KIND_BYTES = 2, KIND_FLOAT = 5 } kind_t;

static ald_status_t put_varint(ald_vec_t *out, uint64_t value)
{
    ald_status_t status = ALD_STATUS_OK;
    do {
        const uint8_t byte = (uint8_t)((value & 0x7F) | (value > 0x7F ? 0x80 : 0));
        ALD_TRY(ald_vec_push(out, &byte));
        value >>= 7;
    } while (value > 0);
done:
    return status;
}

static ald_status_t put_key(ald_vec_t *out, int field, kind_t kind)
{
    return put_varint(out, (uint64_t)field << 3 | (uint64_t)kind);
}

static ald_status_t put_integer(ald_vec_t *out, int field, int64_t value)
{
    const ald_status_t status = put_key(out, field, KIND_VARINT);
    return status != ALD_STATUS_OK ? status : put_varint(out, (uint64_t)value);
}

static ald_status_t put_double(ald_vec_t *out, int field, double value)
{
    const ald_status_t status = put_key(out, field, KIND_DOUBLE);
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    bits = htole64(bits);
    return status != ALD_STATUS_OK ? status : ald_vec_append(out, &bits, sizeof bits);
}

static ald_status_t put_float(ald_vec_t *out, int field, float value)
{
    const ald_status_t status = put_key(out, field, KIND_FLOAT);
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    bits = htole32(bits);
    return status != ALD_STATUS_OK ? status : ald_vec_append(out, &bits, sizeof bits);
}

static ald_status_t put_bytes(ald_vec_t *out, int field, const void *data, size_t size)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_TRY(put_key(out, field, KIND_BYTES));
    ALD_TRY(put_varint(out, size));
    ALD_TRY(ald_vec_append(out, data, size));
done:
    return status;
}

/* A repeated double, packed. */
static ald_status_t put_doubles(ald_vec_t *out, int field, const double *values, int count)
{
    ald_status_t status = ALD_STATUS_OK;
    ALD_TRY(put_key(out, field, KIND_BYTES));
    ALD_TRY(put_varint(out, (uint64_t)count * sizeof *values));
    for (int i = 0; i < count; ++i) {
        uint64_t bits;
        memcpy(&bits, &values[i], sizeof bits);
        bits = htole64(bits);
        ALD_TRY(ald_vec_append(out, &bits, sizeof bits));
    }
done:
    return status;
}

/* --- messages --------------------------------------------------------------------------------- */

/* Summary.Value with simple_value. */
static ald_status_t put_scalar(ald_vec_t *summary, const char *name, double value)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_vec_t message;
    ald_vec_init(&message, 1);
    ALD_TRY(put_bytes(&message, 1, name, strlen(name)));
    ALD_TRY(put_float(&message, 2, (float)value));
    ALD_TRY(put_bytes(summary, 1, message.data, message.count));
done:
    ald_vec_reset(&message);
    return status;
}

/* Summary.Value with a HistogramProto. */
static ald_status_t put_histogram(ald_vec_t *summary, const ald_histogram_t *histogram)
{
    ald_status_t status = ALD_STATUS_OK;
    const ald_histogram_t *h = histogram;
    const double numbers[] = {h->min, h->max, h->count, h->sum, h->squares};
    ald_vec_t proto, message;
    ald_vec_init(&proto, 1);
    ald_vec_init(&message, 1);
    for (int i = 0; i < 5; ++i)
        ALD_TRY(put_double(&proto, i + 1, numbers[i]));
    ALD_TRY(put_doubles(&proto, 6, h->limit, ALD_HISTOGRAM_BINS));
    ALD_TRY(put_doubles(&proto, 7, h->bin, ALD_HISTOGRAM_BINS));
    ALD_TRY(put_bytes(&message, 1, h->name, strlen(h->name)));
    ALD_TRY(put_bytes(&message, 5, proto.data, proto.count));
    ALD_TRY(put_bytes(summary, 1, message.data, message.count));
done:
    ald_vec_reset(&proto);
    ald_vec_reset(&message);
    return status;
}

/* The begin of an Event: its time, then its step. */
static ald_status_t begin_event(ald_vec_t *event, int64_t step)
{
    ald_status_t status = ALD_STATUS_OK;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    ALD_TRY(put_double(event, 1, (double)now.tv_sec + 1e-9 * (double)now.tv_nsec));
    ALD_TRY(put_integer(event, 2, step));
done:
    return status;
}

/* The step of an Event of ours, whose second field is at this place; -1: none of ours. */
static int64_t step_of(const uint8_t *event, size_t size)
{
    enum { AT = 1 + sizeof(double) };
    uint64_t step = 0;
    if (size <= AT || event[0] != (1 << 3 | KIND_DOUBLE) || event[AT] != (2 << 3 | KIND_VARINT))
        return -1;
    for (size_t i = AT + 1, shift = 0; i < size && shift < 63; ++i, shift += 7) {
        step |= (uint64_t)(event[i] & 0x7F) << shift;
        if (event[i] < 0x80)
            return (int64_t)step;
    }
    return -1;
}

/* --- the file --------------------------------------------------------------------------------- */

/* The first event of any file. */
static ald_status_t put_version(ald_vec_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    static const char version[] = "brain.Event:2";
    ald_vec_t event;
    ald_vec_init(&event, 1);
    ALD_TRY(begin_event(&event, 0));
    ALD_TRY(put_bytes(&event, 3, version, strlen(version)));
    ALD_TRY(put_record(out, &event));
done:
    ald_vec_reset(&event);
    return status;
}

/* Copies the records of steps from 1 to last_step. */
static ald_status_t take_records(const uint8_t *bytes, size_t size, int64_t last_step,
                                 ald_vec_t *out)
{
    ald_status_t status = ALD_STATUS_OK;
    size_t length;
    for (size_t at = 0; (length = record_size(bytes + at, size - at)) > 0; at += length) {
        const int64_t step = step_of(bytes + at + HEAD, length - HEAD - TAIL);
        if (step > 0 && step <= last_step)
            ALD_TRY(ald_vec_append(out, bytes + at, length));
    }
done:
    return status;
}

ald_status_t ald_events_open(const char *directory, int64_t last_step, ald_events_t **out)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_events_t *events = ald_calloc(1, sizeof *events);
    ald_vec_t kept;
    char *bytes = NULL;
    size_t size = 0;
    *out = NULL;
    ald_vec_init(&kept, 1);
    ALD_CHECK_MEMORY(events, sizeof *events);
    events->path = ald_path_join(directory, "events.out.tfevents.aligndistil");
    ALD_CHECK_MEMORY(events->path, strlen(directory));
    ALD_TRY(put_version(&kept));
    if (last_step > 0 && ald_path_exists(events->path)) {
        ALD_TRY(ald_file_read(events->path, &bytes, &size));
        ALD_TRY(take_records((const uint8_t *)bytes, size, last_step, &kept));
    }
    ALD_TRY(ald_file_write(events->path, kept.data, kept.count));
    *out = events;
    events = NULL;
done:
    ald_events_close(events);
    ald_vec_reset(&kept);
    ald_free(bytes);
    return status;
}

ald_status_t ald_events_append(ald_events_t *events, const ald_metrics_t *metrics)
{
    ald_status_t status = ALD_STATUS_OK;
    ald_vec_t summary, event, record;
    ald_vec_init(&summary, 1);
    ald_vec_init(&event, 1);
    ald_vec_init(&record, 1);
    for (int i = 0; i < metrics->count; ++i)
        if (strcmp(metrics->name[i], "step") != 0 && isfinite(metrics->value[i]))
            ALD_TRY(put_scalar(&summary, metrics->name[i], metrics->value[i]));
    for (int i = 0; i < metrics->histograms; ++i)
        ALD_TRY(put_histogram(&summary, &metrics->histogram[i]));
    ALD_TRY(begin_event(&event, (int64_t)ald_metrics_get(metrics, "step")));
    ALD_TRY(put_bytes(&event, 5, summary.data, summary.count));
    ALD_TRY(put_record(&record, &event));
    ALD_TRY(ald_file_append(events->path, record.data, record.count));
done:
    ald_vec_reset(&summary);
    ald_vec_reset(&event);
    ald_vec_reset(&record);
    return status;
}

void ald_events_close(ald_events_t *events)
{
    if (events == NULL)
        return;
    ald_free(events->path);
    ald_free(events);
}

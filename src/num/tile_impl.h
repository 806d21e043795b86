/* Tiles of dot products in vectors of WIDTH floats, for num/invariant.c, which includes this file
 * once for each instruction level and so has no guard. Layer: num.
 *
 * A dot product has 16 lanes: lane i sums the products of the elements i, i + 16, ... in turn. A
 * vector holds WIDTH of the lanes, and the lanes are taken in 16 / WIDTH passes: so all vectors of
 * a tile are registers, and the lanes' sums have the same bits for any WIDTH, given FMA. */

#define PASTE_(a, b) a##_##b
#define PASTE(a, b)  PASTE_(a, b)
#define NAME(name)   PASTE(name, WIDTH)

typedef float NAME(floats) __attribute__((vector_size(4 * WIDTH), aligned(4), may_alias));
typedef uint32_t NAME(words) __attribute__((vector_size(4 * WIDTH)));
typedef uint16_t NAME(halves) __attribute__((vector_size(2 * WIDTH), aligned(1), may_alias));

/* WIDTH elements of a row in its stored type, from the element `at` on, as float32 (the steps are
 * explained at f16_to_f32 of num/dtype.c). */
static inline __attribute__((always_inline)) void NAME(stored)(ald_dtype_t dtype, const void *row,
                                                               int64_t at, NAME(floats) * out)
{
    if (dtype == ALD_DTYPE_F32) {
        *out = *(const NAME(floats) *)((const char *)row + 4 * at);
        return;
    }
    NAME(halves) half = *(const NAME(halves) *)((const char *)row + 2 * at);
    NAME(words) word = __builtin_convertvector(half, NAME(words));
    if (dtype == ALD_DTYPE_BF16) {
        *out = (NAME(floats))(word << 16);
        return;
    }
    NAME(words) magnitude = (word & 0x7FFF) << 13;
    NAME(words) bits = (NAME(words))((NAME(floats))magnitude * 0x1p112f);
    NAME(words) largest = (NAME(words))(magnitude >= 0x0F800000) & 0x7F800000;
    *out = (NAME(floats))((word & 0x8000) << 16 | bits | largest);
}

/* Adds the products of `count` elements, a multiple of 16, to R x C dot products: `a` are rows of
 * float32, `b` rows in their stored type. `from_zero`: they are the first. */
static inline __attribute__((always_inline)) void
NAME(tile)(const int R, const int C, const ald_dtype_t dtype, const tile_t *t, lanes_t *lanes)
{
    const int64_t step = t->ldb * (dtype == ALD_DTYPE_F32 ? 4 : 2);
    for (int pass = 0; pass < LANES; pass += WIDTH) {
        NAME(floats) sum[16] = {{0}};
        if (!t->from_zero)
#pragma GCC unroll 16
            for (int i = 0; i < R * C; ++i)
                sum[i] = *(const NAME(floats) *)(lanes[i / C * COLUMNS + i % C] + pass);
        for (int64_t at = pass; at < t->count; at += LANES) {
            NAME(floats) x[4], y;
#pragma GCC unroll 4
            for (int i = 0; i < R; ++i)
                x[i] = *(const NAME(floats) *)(t->a + i * t->lda + at);
#pragma GCC unroll 4
            for (int j = 0; j < C; ++j) {
                NAME(stored)(dtype, (const char *)t->b + j * step, at, &y);
                if (pass == 0 && t->ahead != 0)
                    __builtin_prefetch((const char *)t->b + j * step + t->ahead + at * 4);
#pragma GCC unroll 4
                for (int i = 0; i < R; ++i)
                    sum[i * C + j] += x[i] * y;
            }
        }
#pragma GCC unroll 16
        for (int i = 0; i < R * C; ++i)
            *(NAME(floats) *)(lanes[i / C * COLUMNS + i % C] + pass) = sum[i];
    }
}

/* R rows, 1 to TILE_ROWS, of C columns. */
static inline __attribute__((always_inline)) void
NAME(rows)(int64_t R, const int C, const ald_dtype_t dtype, const tile_t *t, lanes_t *lanes)
{
    if (R == 1)
        NAME(tile)(1, C, dtype, t, lanes);
    else if (R == 2)
        NAME(tile)(2, C, dtype, t, lanes);
    else if (R == 3 && TILE_ROWS >= 3)
        NAME(tile)(3, C, dtype, t, lanes);
    else if (TILE_ROWS >= 4)
        NAME(tile)(4, C, dtype, t, lanes);
}

/* C columns from j on of the rows [i0, i1), at most ROWS. */
static inline __attribute__((always_inline)) void NAME(group)(const int C, const ald_dtype_t dtype,
                                                              const stored_t *p, const part_t *part)
{
    const int64_t size = dtype == ALD_DTYPE_F32 ? 4 : 2, whole = p->k / LANES * LANES;
    const int64_t m = part->i1 - part->i0, tiles = (m + TILE_ROWS - 1) / TILE_ROWS;
    const char *b = (const char *)p->b + part->j * p->ldb * size;
    lanes_t lanes[ROWS * COLUMNS];
    if (C < COLUMNS)
        memset(lanes, 0, sizeof lanes);
    for (int64_t l = 0; l == 0 || l < whole; l += DEPTH) {
        const int64_t count = whole - l < DEPTH ? whole - l : DEPTH;
        for (int64_t t = 0, i = 0; t < tiles; ++t) {
            const int64_t R = (m - i + tiles - t - 1) / (tiles - t);
            const tile_t tile = {.a = p->a + (part->i0 + i) * p->lda + l,
                                 .lda = p->lda,
                                 .b = b + l * size,
                                 .ldb = p->ldb,
                                 .count = count,
                                 .ahead = t == 0 && part->i0 == 0 ? C * p->ldb * size : 0,
                                 .from_zero = l == 0};
            NAME(rows)(R, C, dtype, &tile, lanes + i * COLUMNS);
            i += R;
        }
    }
    for (int64_t i = 0; i < m; ++i) {
        float sum[COLUMNS];
        sum_lanes(lanes + i * COLUMNS, sum);
        for (int j = 0; j < C; ++j) {
            const float *x = p->a + (part->i0 + i) * p->lda;
            float *c = p->c + (part->i0 + i) * p->ldc + part->j + j;
            float s = sum[j], y;
            for (int64_t l = whole; l < p->k; ++l) {
                ald_dtype_row_to_f32(dtype, b + (j * p->ldb + l) * size, 1, &y);
                s = __builtin_fmaf(x[l], y, s);
            }
            *c = p->beta == 0.0f ? s : s + p->beta * *c;
        }
    }
}

/* The columns [j0, j1) of all rows of C, the share of one thread. */
static inline __attribute__((always_inline)) void
NAME(share)(const ald_dtype_t dtype, const stored_t *p, int64_t j0, int64_t j1)
{
    for (int64_t first = j0; first < j1; first += WIDE)
        for (int64_t i = 0; i < p->m; i += ROWS) {
            const int64_t last = first + WIDE < j1 ? first + WIDE : j1;
            part_t part = {i, i + ROWS < p->m ? i + ROWS : p->m, first};
            for (; part.j + COLUMNS <= last; part.j += COLUMNS)
                NAME(group)(COLUMNS, dtype, p, &part);
            for (; part.j < last; ++part.j)
                NAME(group)(1, dtype, p, &part);
        }
}

static void NAME(columns)(const stored_t *p, int64_t j0, int64_t j1)
{
    if (p->dtype == ALD_DTYPE_F32)
        NAME(share)(ALD_DTYPE_F32, p, j0, j1);
    else if (p->dtype == ALD_DTYPE_BF16)
        NAME(share)(ALD_DTYPE_BF16, p, j0, j1);
    else
        NAME(share)(ALD_DTYPE_F16, p, j0, j1);
}

#undef NAME
#undef PASTE
#undef PASTE_
#undef WIDTH
#undef TILE_ROWS

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
typedef float NAME(anywhere) __attribute__((vector_size(4 * WIDTH), aligned(1), may_alias));
typedef uint32_t NAME(words) __attribute__((vector_size(4 * WIDTH)));
typedef uint16_t NAME(halves) __attribute__((vector_size(2 * WIDTH), aligned(1), may_alias));

/* WIDTH elements of a row in its stored type, from the element `at` on, as float32. */
static inline __attribute__((always_inline)) void NAME(stored)(ald_dtype_t dtype, const void *row,
                                                               int64_t at, NAME(floats) * out)
{
    if (dtype == ALD_DTYPE_F32) {
        *out = *(const NAME(anywhere) *)((const char *)row + 4 * at);
        return;
    }
    const NAME(halves) half = *(const NAME(halves) *)((const char *)row + 2 * at);
#if WIDTH == 16
    *out = dtype == ALD_DTYPE_BF16
               ? (NAME(floats))_mm512_slli_epi32(_mm512_cvtepu16_epi32((__m256i)half), 16)
               : (NAME(floats))_mm512_cvtph_ps((__m256i)half);
#elif WIDTH == 8
    *out = dtype == ALD_DTYPE_BF16
               ? (NAME(floats))_mm256_slli_epi32(_mm256_cvtepu16_epi32((__m128i)half), 16)
               : (NAME(floats))_mm256_cvtph_ps((__m128i)half);
#else /* the steps are explained at f16_to_f32 of num/dtype.c */
    const NAME(words) word = __builtin_convertvector(half, NAME(words));
    if (dtype == ALD_DTYPE_BF16) {
        *out = (NAME(floats))(word << 16);
        return;
    }
    const NAME(words) magnitude = (word & 0x7FFF) << 13;
    const NAME(words) bits = (NAME(words))((NAME(floats))magnitude * 0x1p112f);
    const NAME(words) largest = (NAME(words))(magnitude >= 0x0F800000) & 0x7F800000;
    *out = (NAME(floats))((word & 0x8000) << 16 | bits | largest);
#endif
}

/* Adds the products of `count` elements, a multiple of 16, to R x C dot products: `a` are rows of
 * float32, `b` rows in their stored type. V vectors of a row are taken in a pass. */
static inline __attribute__((always_inline)) void NAME(tile)(const int R, const int C, const int V,
                                                             const ald_dtype_t dtype,
                                                             const tile_t *t, lanes_t *lanes)
{
    const int64_t row = t->ldb * (dtype == ALD_DTYPE_F32 ? 4 : 2);
    const char *b = t->b;
    int part = t->part;
    for (int pass = 0; pass < LANES; pass += V * WIDTH, ++part) {
        const int lines = part * t->lines < t->all_lines ? t->lines : 0;
        const char *next = t->next + part * t->lines * (t->count / LANES) * LINE;
        NAME(floats) sum[16] = {{0}};
        if (!t->from_zero)
#pragma GCC unroll 16
            for (int i = 0; i < R * C * V; ++i)
                sum[i] = *(const NAME(floats) *)(lanes[i / V / C * COLUMNS + i / V % C] + pass +
                                                 i % V * WIDTH);
        for (int64_t at = pass; at < t->count; at += LANES, next += lines * LINE) {
            NAME(floats) x[4], y[8];
            if (lines > 0)
                __builtin_prefetch(next);
            if (lines > 1)
                __builtin_prefetch(next + LINE);
            if (lines > 2) {
                __builtin_prefetch(next + 2 * LINE);
                __builtin_prefetch(next + 3 * LINE);
            }
            /* the fewer of a and b are held in registers, the others come one at a time */
#pragma GCC unroll 8
            for (int n = 0; n < (R < C ? R : C) * V; ++n)
                if (R < C)
                    x[n] = *(const NAME(floats) *)(t->a + n / V * t->lda + at + n % V * WIDTH);
                else
                    NAME(stored)(dtype, b + n / V * row, at + n % V * WIDTH, &y[n]);
#pragma GCC unroll 16
            for (int n = 0; n < R * C * V; ++n) {
                const int v = n % V, i = R < C ? n / V % R : n / V / C,
                          j = R < C ? n / V / R : n / V % C;
                if (R < C && i == 0)
                    NAME(stored)(dtype, b + j * row, at + v * WIDTH, &y[j * V + v]);
                if (R >= C && j == 0)
                    x[i * V + v] = *(const NAME(floats) *)(t->a + i * t->lda + at + v * WIDTH);
                sum[(i * C + j) * V + v] += x[i * V + v] * y[j * V + v];
            }
        }
#pragma GCC unroll 16
        for (int i = 0; i < R * C * V; ++i)
            *(NAME(floats) *)(lanes[i / V / C * COLUMNS + i / V % C] + pass + i % V * WIDTH) =
                sum[i];
    }
}

/* R rows, 1 to T, of C columns. */
static inline __attribute__((always_inline)) void NAME(rows)(int64_t R, const int T, const int C,
                                                             const ald_dtype_t dtype,
                                                             const tile_t *t, lanes_t *lanes)
{
    if (R == 1)
        NAME(tile)(1, C, WIDTH < LANES ? 2 : 1, dtype, t, lanes);
    else if (R == 2)
        NAME(tile)(2, C, 1, dtype, t, lanes);
    else if (R == 3 && T >= 3)
        NAME(tile)(3, C, 1, dtype, t, lanes);
    else if (T >= 4)
        NAME(tile)(4, C, 1, dtype, t, lanes);
}

/* The lanes of C columns from part->j on and of the rows [i0, i1), at most ROWS, in tiles of T. */
static inline __attribute__((always_inline)) void NAME(lanes)(const int T, const int C,
                                                              const ald_dtype_t dtype,
                                                              const stored_t *p, const part_t *part)
{
    const int64_t size = dtype == ALD_DTYPE_F32 ? 4 : 2, whole = p->k / LANES * LANES;
    const int64_t m = part->i1 - part->i0, passes = LANES / WIDTH;
    const int64_t parts = m == 1 && passes > 1 ? passes / 2 : (m + T - 1) / T * passes;
    const int all_lines = part->i0 == 0 ? (C * (int)size + 3) / 4 : 0;
    const char *b = (const char *)p->b + part->j * p->ldb * size;
    for (int64_t l = 0; l == 0 || l < whole; l += DEPTH) {
        tile_t tile = {.a = p->a + part->i0 * p->lda + l,
                       .lda = p->lda,
                       .b = b + l * size,
                       .ldb = p->ldb,
                       .count = whole - l < DEPTH ? whole - l : DEPTH,
                       .from_zero = l == 0,
                       .next = b + C * (p->ldb + l) * size,
                       .all_lines = all_lines,
                       .lines = (int)((all_lines + parts - 1) / parts)};
        for (int64_t i = 0; i < m; i += T) {
            NAME(rows)(m - i < T ? m - i : T, T, C, dtype, &tile, part->lanes + i * COLUMNS);
            tile.a += T * p->lda;
            tile.part += passes;
        }
    }
}

/* Sums the lanes of those columns, and what is left behind the last 16 elements of k. */
static inline __attribute__((always_inline)) void NAME(sums)(const int C, const ald_dtype_t dtype,
                                                             const stored_t *p, const part_t *part)
{
    const int64_t size = dtype == ALD_DTYPE_F32 ? 4 : 2, whole = p->k / LANES * LANES;
    const char *b = (const char *)p->b + part->j * p->ldb * size;
    for (int64_t i = part->i0; i < part->i1; ++i) {
        const float *x = p->a + i * p->lda;
        float *c = p->c + i * p->ldc + part->j, sum[COLUMNS], y;
        sum_lanes(part->lanes + (i - part->i0) * COLUMNS, sum);
        for (int j = 0; j < C; ++j) {
            for (int64_t l = whole; l < p->k; ++l) {
                ald_dtype_row_to_f32(dtype, b + (j * p->ldb + l) * size, 1, &y);
                sum[j] = __builtin_fmaf(x[l], y, sum[j]);
            }
            c[j] = p->beta == 0.0f ? sum[j] : sum[j] + p->beta * c[j];
        }
    }
}

/* The columns [j0, j1) of all rows of c in tiles of T x C, the share of one thread. */
static inline __attribute__((always_inline)) void NAME(share)(const int T, const int C,
                                                              const ald_dtype_t dtype,
                                                              const stored_t *p, int64_t j0,
                                                              int64_t j1)
{
    lanes_t lanes[ROWS * COLUMNS];
    memset(lanes, 0, sizeof lanes[0] * (size_t)(p->m < ROWS ? p->m : ROWS) * COLUMNS);
    for (int64_t first = j0; first < j1; first += WIDE)
        for (int64_t i = 0; i < p->m; i += ROWS) {
            const int64_t last = first + WIDE < j1 ? first + WIDE : j1;
            part_t part = {i, i + ROWS < p->m ? i + ROWS : p->m, first, lanes};
            for (; part.j + C <= last; part.j += C) {
                NAME(lanes)(T, C, dtype, p, &part);
                NAME(sums)(C, dtype, p, &part);
            }
            for (; part.j < last; ++part.j) {
                NAME(lanes)(T, 1, dtype, p, &part);
                NAME(sums)(1, dtype, p, &part);
            }
        }
}

static void NAME(columns)(const stored_t *p, int64_t j0, int64_t j1)
{
    const bool few = p->m < MANY_ROWS;
#define SHARE(dtype)                                                                               \
    (few ? NAME(share)(FEW_ROWS, COLUMNS, dtype, p, j0, j1)                                        \
         : NAME(share)(MANY_ROWS, MANY_COLUMNS, dtype, p, j0, j1))
    if (p->dtype == ALD_DTYPE_F32)
        SHARE(ALD_DTYPE_F32);
    else if (p->dtype == ALD_DTYPE_BF16)
        SHARE(ALD_DTYPE_BF16);
    else
        SHARE(ALD_DTYPE_F16);
#undef SHARE
}

#undef NAME
#undef PASTE
#undef PASTE_
#undef WIDTH
#undef FEW_ROWS
#undef MANY_ROWS
#undef MANY_COLUMNS

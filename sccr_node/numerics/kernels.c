/* The loops that carry the work: propagation on a graph, exact nearest neighbours by cosine, in float32 SIMD.
 *
 * The file is compiled once for each level of instructions (baseline, AVX2 + FMA, AVX-512), each into a library of its
 * own; _kernels.py loads the best that the CPU runs. The code is written in vectors of LANES floats (GCC and clang vector
 * types), so that there is one source and no intrinsics. Every sum has a fixed order that does not depend on threads.
 *
 * Layouts. A matrix is row-major. A "block" is nodes x width: the columns that are worked on together, contiguous.
 * "Panels" are PANEL rows of a matrix turned into columns, [panel][dimension][PANEL]: what a product reads in order.
 */
#include <math.h>
#include <stdint.h>
#include <string.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

#if defined(__AVX512F__)
#define LANES 16
#elif defined(__AVX2__) && defined(__FMA__)
#define LANES 8
#else
#define LANES 4
#endif

#define PANEL 32         /* rows of a panel */
#define TILE 512         /* rows and columns of the similarities that are computed together */
#define DEPTH 128        /* dimensions summed in registers: two panels of this depth fit the L1 cache */
#define TILE_ROWS (LANES == 16 ? 8 : 4) /* rows of a product held in registers, two vectors each */
#define AHEAD 32         /* entries of a sparse matrix between a fetch from memory and its use */
#define LINE 16          /* values in a cache line */
#define LISTED_ROWS 16   /* contested rows that are scanned together: they stay in the L2 cache */

#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 16")

typedef float vec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int32_t ivec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef float half __attribute__((vector_size(2 * LANES), aligned(4), may_alias));
typedef double wide __attribute__((vector_size(4 * LANES), aligned(8), may_alias));

INLINE vec load(const float *p) { return *(const vec *)p; }
INLINE void store(float *p, vec v) { *(vec *)p = v; }
INLINE wide widened(const float *p) { return __builtin_convertvector(*(const half *)p, wide); }

/* What the bindings must know of the layout. */
const int32_t panel_rows = PANEL, tile_rows = TILE, summed_depth = DEPTH, listed_rows = LISTED_ROWS;

/* The highest level that this CPU and operating system run: 0 baseline, 1 AVX2 + FMA, 2 AVX-512. Asked of the CPU itself,
 * because __builtin_cpu_supports answers no to everything where the compiler's runtime library lacks it (zig's). */
int supported_level(void)
{
#if defined(__x86_64__)
    enum { OSXSAVE = 1 << 27, FMA = 1 << 12, AVX2 = 1 << 5 };
    const unsigned avx512 = 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31; /* F, DQ, BW, VL */
    unsigned eax, ebx, ecx, edx, saved, high;
    if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || !(ecx & OSXSAVE) || !(ecx & FMA)) return 0;
    if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) || !(ebx & AVX2)) return 0;
    __asm__("xgetbv" : "=a"(saved), "=d"(high) : "c"(0)); /* the registers that the system saves */
    if ((saved & 0x06) != 0x06) return 0;
    return (ebx & avx512) == avx512 && (saved & 0xe6) == 0xe6 ? 2 : 1;
#else
    return 0;
#endif
}

/* ---------------------------------------------------------------- sparse rows times a block ------------------- */

/* sum = weights . block[columns], for one row of a sparse matrix and `width` columns of a block whose rows are `stride`
 * values apart. `listed` is the number of entries until the end of the matrix: those of the next rows are fetched ahead. */
INLINE void combine(const int32_t *columns, const float *weights, int64_t count, int64_t listed, const float *block,
                    int64_t stride, const int width, float *sum)
{
    enum { HELD = LANES == 4 ? 8 : 64 / LANES }; /* as many accumulators as there are registers for */
    const int vectors = width / LANES;
    for (int first = 0; first < vectors; first += HELD) {
        const int held = vectors - first < HELD ? vectors - first : HELD;
        vec total[HELD];
        UNROLL for (int v = 0; v < held; v++) total[v] = (vec){0};
        for (int64_t k = 0; k < count; k++) {
            const float *row = block + (int64_t)columns[k] * stride + first * LANES;
            const float *later = block + (int64_t)columns[k + AHEAD < listed ? k + AHEAD : k] * stride + first * LANES;
            UNROLL for (int v = 0; v < held * LANES; v += LINE) __builtin_prefetch(later + v);
            UNROLL for (int v = 0; v < held; v++) total[v] += weights[k] * load(row + v * LANES);
        }
        UNROLL for (int v = 0; v < held; v++) store(sum + (first + v) * LANES, total[v]);
    }
}

/* The widths that blocks may have are constants, so that the accumulators above are registers. */
#define FOR_WIDTH(width, call)           \
    do {                                 \
        if ((width) == 64) { enum { WIDTH = 64 }; call; }      \
        else if ((width) == 32) { enum { WIDTH = 32 }; call; } \
        else { enum { WIDTH = 16 }; call; }                    \
    } while (0)

/* ---------------------------------------------------------------- propagation -------------------------------- */

INLINE void hard_step(const int64_t *starts, const int32_t *columns, const float *weights, int64_t nodes,
                      const int width, const float *held, const float *from, float *to)
{
    for (int64_t i = 0; i < nodes; i++) {
        float *row = to + i * width;
        const float *kept = held + i * width;
        combine(columns + starts[i], weights + starts[i], starts[i + 1] - starts[i], starts[nodes] - starts[i], from, width,
                width, row);
        UNROLL for (int c = 0; c < width; c += LANES) {
            const vec value = load(kept + c);
            const ivec there = value == value;
            store(row + c, (vec)((there & (ivec)value) | (~there & (ivec)load(row + c))));
        }
    }
}

INLINE void soft_step(const int64_t *starts, const int32_t *columns, const float *weights, int64_t nodes,
                      const int width, float beta, const float *source, const float *from, float *to)
{
    for (int64_t i = 0; i < nodes; i++) {
        float *row = to + i * width;
        combine(columns + starts[i], weights + starts[i], starts[i + 1] - starts[i], starts[nodes] - starts[i], from, width,
                width, row);
        UNROLL for (int c = 0; c < width; c += LANES)
            store(row + c, beta * load(row + c) + (1 - beta) * load(source + i * width + c));
    }
}

/* `iterations` times block <- A block, then the held entries (those that are not NaN) put back. */
void propagate_hard(const int64_t *starts, const int32_t *columns, const float *weights, int64_t nodes, int64_t width,
                    const float *held, float *block, float *other, int64_t iterations, const volatile int32_t *cancelled)
{
    float *from = block, *to = other;
    for (int64_t t = 0; t < iterations && !*cancelled; t++) {
        FOR_WIDTH(width, hard_step(starts, columns, weights, nodes, WIDTH, held, from, to));
        float *swap = from; from = to; to = swap;
    }
    if (from != block)
        memcpy(block, from, sizeof(float) * nodes * width);
}

/* `iterations` times block <- beta A block + (1 - beta) source. */
void propagate_soft(const int64_t *starts, const int32_t *columns, const float *weights, int64_t nodes, int64_t width,
                    const float *source, float beta, float *block, float *other, int64_t iterations,
                    const volatile int32_t *cancelled)
{
    float *from = block, *to = other;
    for (int64_t t = 0; t < iterations && !*cancelled; t++) {
        FOR_WIDTH(width, soft_step(starts, columns, weights, nodes, WIDTH, beta, source, from, to));
        float *swap = from; from = to; to = swap;
    }
    if (from != block)
        memcpy(block, from, sizeof(float) * nodes * width);
}

/* ---------------------------------------------------------------- matrices to blocks and back ----------------- */

/* The first entry of a sorted row that is at or after `column`. */
INLINE int64_t seek(const int32_t *columns, int64_t first, int64_t last, int64_t column)
{
    while (first < last) {
        const int64_t middle = (first + last) / 2;
        if (columns[middle] < column) first = middle + 1; else last = middle;
    }
    return first;
}

/* block[r, c] = matrix[order[r], first + c]. */
void dense_to_block(const float *matrix, int64_t stride, const int64_t *order, int64_t nodes, int64_t first, int64_t used,
                    int64_t width, float *block)
{
    for (int64_t r = 0; r < nodes; r++, block += width) {
        memcpy(block, matrix + order[r] * stride + first, sizeof(float) * used);
        for (int64_t c = used; c < width; c++) block[c] = 0;
    }
}

/* block[r, c] = X[order[r], first + c] where it is stored, else `missing` (NaN: nothing is held there). */
void sparse_to_block(const int64_t *starts, const int32_t *columns, const float *values, const int64_t *order,
                     int64_t nodes, int64_t first, int64_t width, float missing, float *block)
{
    for (int64_t r = 0; r < nodes; r++, block += width) {
        const int64_t row = order[r];
        for (int64_t c = 0; c < width; c++) block[c] = missing;
        for (int64_t k = seek(columns, starts[row], starts[row + 1], first);
             k < starts[row + 1] && columns[k] < first + width; k++)
            block[columns[k] - first] = values[k];
    }
}

/* out[order[r], first + c] = share * block[r, c] + (1 - share) * mixed[order[r], first + c]; mixed may be out, or
 * NULL when share is 1. */
void block_to_dense(const float *block, const int64_t *order, int64_t nodes, int64_t first, int64_t width, int64_t used,
                    float share, const float *mixed, float *out, int64_t stride)
{
    for (int64_t r = 0; r < nodes; r++, block += width) {
        const int64_t at = order[r] * stride + first;
        if (mixed)
            for (int64_t c = 0; c < used; c++) out[at + c] = share * block[c] + (1 - share) * mixed[at + c];
        else
            memcpy(out + at, block, sizeof(float) * used);
    }
}

/* Mean and sample standard deviation of the columns of a block, in float64, down the rows. */
void column_statistics(const float *block, int64_t nodes, int64_t width, int64_t used, double *means, double *deviations)
{
    double mean[64] = {0}, squares[64] = {0};
    for (int64_t r = 0; r < nodes; r++)
        for (int64_t c = 0; c < width; c++) mean[c] += block[r * width + c];
    for (int64_t c = 0; c < width; c++) mean[c] /= (double)nodes;
    for (int64_t r = 0; r < nodes; r++)
        for (int64_t c = 0; c < width; c++) {
            const double off = block[r * width + c] - mean[c];
            squares[c] += off * off;
        }
    for (int64_t c = 0; c < used; c++) {
        means[c] = mean[c];
        deviations[c] = sqrt(squares[c] / (nodes > 1 ? nodes - 1 : 1));
    }
}

INLINE float standardized(float value, double mean, double inverse) { return (float)((value - mean) * inverse); }

/* The genes of a block of `used` cells: block[g, c] standardised (from `dense`, or from the sparse X where dense is NULL),
 * held[g, c] the same where X[cell, g] is stored, else NaN. */
void cells_to_block(const float *dense, const int64_t *starts, const int32_t *columns, const float *values, int64_t genes,
                    int64_t first, int64_t used, int64_t width, const double *means, const double *inverses,
                    float *block, float *held)
{
    for (int64_t at = 0; at < genes * width; at++) held[at] = NAN;
    if (dense)
        for (int64_t g = 0; g < genes; g++) {
            for (int64_t c = 0; c < used; c++)
                block[g * width + c] = standardized(dense[(first + c) * genes + g], means[g], inverses[g]);
            for (int64_t c = used; c < width; c++) block[g * width + c] = 0;
        }
    else
        for (int64_t g = 0; g < genes; g++)
            for (int64_t c = 0; c < width; c++) block[g * width + c] = standardized(0, means[g], inverses[g]);
    for (int64_t c = 0; c < used; c++)
        for (int64_t k = starts[first + c]; k < starts[first + c + 1]; k++) {
            const int64_t g = columns[k];
            if (!dense) block[g * width + c] = standardized(values[k], means[g], inverses[g]);
            held[g * width + c] = block[g * width + c];
        }
}

/* out[first + c, g] = block[g, c] * scale[g] + means[g]. */
void block_to_cells(const float *block, int64_t genes, int64_t first, int64_t used, int64_t width, const double *means,
                    const double *scales, float *out)
{
    for (int64_t c = 0; c < used; c++)
        for (int64_t g = 0; g < genes; g++)
            out[(first + c) * genes + g] = (float)(block[g * width + c] * scales[g] + means[g]);
}

/* Rows [0, count) of a matrix, spread to the rows and columns that they had before empty ones were left out; in place,
 * from the last row, because a row only ever moves up. Everything else becomes 0. */
void spread(float *matrix, const int64_t *rows, int64_t count, const int64_t *columns, int64_t used, int64_t all_rows,
            int64_t all_columns, float *line)
{
    int64_t next = count - 1;
    for (int64_t i = all_rows - 1; i >= 0; i--) {
        float *row = matrix + i * all_columns;
        if (next >= 0 && rows[next] == i) {
            memcpy(line, matrix + next * used, sizeof(float) * used);
            memset(row, 0, sizeof(float) * all_columns);
            for (int64_t c = 0; c < used; c++) row[columns[c]] = line[c];
            next--;
        } else
            memset(row, 0, sizeof(float) * all_columns);
    }
}

/* Columns [first, first + used) of a matrix, its rows reordered in place: row r becomes what row order[r] was. Each cycle of
 * the order is followed once; `moved` has a byte for each row, `line` room for `used` values. */
void reorder_rows(float *matrix, int64_t rows, int64_t stride, const int64_t *order, int64_t first, int64_t used,
                  float *line, int8_t *moved)
{
    memset(moved, 0, rows);
    for (int64_t start = 0; start < rows; start++) {
        if (moved[start] || order[start] == start) continue;
        memcpy(line, matrix + start * stride + first, sizeof(float) * used);
        int64_t at = start;
        for (; order[at] != start; at = order[at]) {
            memcpy(matrix + at * stride + first, matrix + order[at] * stride + first, sizeof(float) * used);
            moved[at] = 1;
        }
        memcpy(matrix + at * stride + first, line, sizeof(float) * used);
        moved[at] = 1;
    }
}

/* ---------------------------------------------------------------- candidates: the best of every row ------------ */

/* A row's `kept` best scores so far are a heap with the worst on top; a score must beat the top to enter. */
INLINE void enter(float *scores, int32_t *indices, int64_t kept, float score, int32_t index)
{
    int64_t at = 0;
    for (;;) {
        int64_t child = 2 * at + 1;
        if (child >= kept) break;
        if (child + 1 < kept && scores[child + 1] < scores[child]) child++;
        if (scores[child] >= score) break;
        scores[at] = scores[child];
        indices[at] = indices[child];
        at = child;
    }
    scores[at] = score;
    indices[at] = index;
}

/* Another thread's candidates for the same rows join these. */
void merge_candidates(float *scores, int32_t *indices, const float *more_scores, const int32_t *more_indices,
                      int64_t first, int64_t last, int64_t kept)
{
    for (int64_t i = first; i < last; i++)
        for (int64_t k = i * kept; k < (i + 1) * kept; k++)
            if (more_indices[k] >= 0 && more_scores[k] > scores[i * kept])
                enter(scores + i * kept, indices + i * kept, kept, more_scores[k], more_indices[k]);
}

INLINE int any(ivec mask)
{
    int64_t words[LANES / 2], all = 0;
    memcpy(words, &mask, sizeof words);
    UNROLL for (int w = 0; w < LANES / 2; w++) all |= words[w];
    return all != 0;
}

/* Offer the products of rows [i0, i1) with columns [j0, j1), j >= i, to the rows' and to the columns' heaps. */
INLINE void offer(const float *products, int64_t stride, int64_t i0, int64_t i1, int64_t j0, int64_t j1,
                  const float *inverse_norms, int signed_too, float *scores, int32_t *indices, int64_t kept)
{
    const ivec magnitude = (ivec){0} + (signed_too ? 0x7fffffff : -1);
    float bars[TILE + LANES];
    for (int64_t j = j0; j < j0 + TILE + LANES; j++) bars[j - j0] = j < j1 ? scores[j * kept] : INFINITY;
    for (int64_t i = i0; i < i1; i++) {
        float bar = scores[i * kept];
        const float *row = products + (i - i0) * stride;
        const int64_t start = i > j0 ? (i - j0) / LANES * LANES : 0;
        for (int64_t c = start; c < j1 - j0; c += LANES) {
            vec score = load(row + c) * inverse_norms[i] * load(inverse_norms + j0 + c);
            score = (vec)((ivec)score & magnitude);
            if (!any((score > bar) | (score > load(bars + c)))) continue;
            const int64_t end = j1 - j0 - c < LANES ? j1 - j0 - c : LANES;
            for (int64_t v = 0; v < end; v++) {
                const int64_t j = j0 + c + v;
                if (j < i) continue;
                if (score[v] > bar) {
                    enter(scores + i * kept, indices + i * kept, kept, score[v], (int32_t)j);
                    bar = scores[i * kept];
                }
                if (j != i && score[v] > bars[c + v]) {
                    enter(scores + j * kept, indices + j * kept, kept, score[v], (int32_t)i);
                    bars[c + v] = scores[j * kept];
                }
            }
        }
    }
}

/* ---------------------------------------------------------------- dense search -------------------------------- */

/* In place, the `used` rows of one panel become its columns (rows that do not exist, zeros), or the other way round. */
void rows_to_panel(float *panel, int64_t used, int64_t dimensions, float *scratch)
{
    memcpy(scratch, panel, sizeof(float) * used * dimensions);
    for (int64_t d = 0; d < dimensions; d++)
        for (int64_t r = 0; r < PANEL; r++) panel[d * PANEL + r] = r < used ? scratch[r * dimensions + d] : 0;
}

void panel_to_rows(float *panel, int64_t used, int64_t dimensions, float *scratch)
{
    memcpy(scratch, panel, sizeof(float) * PANEL * dimensions);
    for (int64_t r = 0; r < used; r++)
        for (int64_t d = 0; d < dimensions; d++) panel[r * dimensions + d] = scratch[d * PANEL + r];
}

/* The panel of standardised genes [first, first + used) over all cells. */
void genes_to_panel(const float *dense, int64_t cells, int64_t genes, int64_t first, int64_t used, const double *means,
                    const double *inverses, float *panel)
{
    for (int64_t i = 0; i < cells; i++, panel += PANEL) {
        const float *row = dense + i * genes + first;
        for (int64_t c = 0; c < used; c++) panel[c] = standardized(row[c], means[first + c], inverses[first + c]);
        for (int64_t c = used; c < PANEL; c++) panel[c] = 0;
    }
}

void panel_norms(const float *panel, int64_t dimensions, double *norms)
{
    double squares[PANEL] = {0};
    for (int64_t d = 0; d < dimensions; d++)
        for (int64_t r = 0; r < PANEL; r++) squares[r] += (double)panel[d * PANEL + r] * panel[d * PANEL + r];
    for (int64_t r = 0; r < PANEL; r++) norms[r] = sqrt(squares[r]);
}

/* out (+)= aT b for TILE_ROWS columns of panel a and two vectors of panel b, over `depth` dimensions. */
INLINE void multiply(const float *a, const float *b, int64_t depth, float *out, int added)
{
    vec left[TILE_ROWS], right[TILE_ROWS];
    UNROLL for (int r = 0; r < TILE_ROWS; r++) left[r] = right[r] = (vec){0};
    for (int64_t d = 0; d < depth; d++, a += PANEL, b += PANEL) {
        const vec b0 = load(b), b1 = load(b + LANES);
        UNROLL for (int r = 0; r < TILE_ROWS; r++) {
            left[r] += a[r] * b0;
            right[r] += a[r] * b1;
        }
    }
    UNROLL for (int r = 0; r < TILE_ROWS; r++) {
        float *at = out + r * TILE;
        if (added) {
            left[r] += load(at);
            right[r] += load(at + LANES);
        }
        store(at, left[r]);
        store(at + LANES, right[r]);
    }
}

/* Similarities of rows [i0, i1) with rows [j0, j1) (at most TILE each, from multiples of PANEL, j0 >= i0), offered both ways. */
void search_dense(const float *panels, int64_t dimensions, int64_t i0, int64_t i1, int64_t j0, int64_t j1,
                  const float *inverse_norms, int64_t signed_too, float *scores, int32_t *indices, int64_t kept,
                  float *products, const volatile int32_t *cancelled)
{
    for (int64_t d = 0; d < dimensions; d += DEPTH) {
        if (*cancelled) return;
        const int64_t depth = dimensions - d < DEPTH ? dimensions - d : DEPTH;
        for (int64_t j = j0; j < j1; j += PANEL)
            for (int64_t i = i0; i < i1 && i <= j; i += PANEL) {
                const float *a = panels + i * dimensions + d * PANEL, *b = panels + j * dimensions + d * PANEL;
                float *out = products + (i - i0) * TILE + j - j0;
                for (int c = 0; c < PANEL; c += 2 * LANES)
                    for (int r = 0; r < PANEL; r += TILE_ROWS)
                        multiply(a + r, b + c, depth, out + r * TILE + c, d > 0);
            }
    }
    offer(products, TILE, i0, i1, j0, j1, inverse_norms, signed_too, scores, indices, kept);
}

/* ---------------------------------------------------------------- sparse search ------------------------------- */

/* out[r, at + c] = rows [first, last) of a sparse matrix times columns [at, at + width) of a matrix with `stride` columns, as
 * many as out has. */
void sparse_times(const int64_t *starts, const int32_t *columns, const float *values, int64_t first, int64_t last,
                  const float *matrix, int64_t stride, int64_t at, int64_t width, float *out)
{
    for (int64_t i = first; i < last; i++, out += stride)
        FOR_WIDTH(width, combine(columns + starts[i], values + starts[i], starts[i + 1] - starts[i], starts[last] - starts[i],
                                 matrix + at, stride, WIDTH, out + at));
}

/* Similarities of the rows i < j1 in some ranges with rows [j0, j1) of a sparse matrix, j1 - j0 <= width, offered both ways.
 * Ranges are pairs [first, last), by rising rows. */
void search_sparse(const int64_t *starts, const int32_t *columns, const float *values, int64_t dimensions,
                   const int64_t *ranges, int64_t n_ranges, int64_t j0, int64_t j1, int64_t width,
                   const float *inverse_norms, float *scores, int32_t *indices, int64_t kept, float *block,
                   float *products, const volatile int32_t *cancelled)
{
    memset(block, 0, sizeof(float) * dimensions * width);
    for (int64_t j = j0; j < j1; j++)
        for (int64_t k = starts[j]; k < starts[j + 1]; k++) block[columns[k] * width + j - j0] = values[k];
    for (int64_t r = 0; r < n_ranges && ranges[2 * r] < j1; r++) {
        const int64_t end = ranges[2 * r + 1] < j1 ? ranges[2 * r + 1] : j1;
        for (int64_t i0 = ranges[2 * r]; i0 < end && !*cancelled; i0 += TILE) {
            const int64_t i1 = i0 + TILE < end ? i0 + TILE : end;
            for (int64_t i = i0; i < i1; i++) {
                float *out = products + (i - i0) * width;
                FOR_WIDTH(width, combine(columns + starts[i], values + starts[i], starts[i + 1] - starts[i],
                                         starts[i1] - starts[i], block, WIDTH, WIDTH, out));
            }
            offer(products, width, i0, i1, j0, j1, inverse_norms, 0, scores, indices, kept);
        }
    }
}

/* ---------------------------------------------------------------- exact scores -------------------------------- */

/* Rows that point the same way must tie whatever their lengths, so scores are compared on a grid of 2^-40, far above the
 * rounding of float64: a number of this size has no bits below the grid. */
INLINE double on_grid(double score)
{
    const double large = 6144; /* 1.5 * 2^12 */
    return (score + large) - large;
}

INLINE double dense_dot(const float *a, const float *b, int64_t dimensions)
{
    enum { STEP = LANES / 2 };
    wide total[4] = {{0}, {0}, {0}, {0}};
    int64_t d = 0;
    for (; d + 4 * STEP <= dimensions; d += 4 * STEP)
        UNROLL for (int v = 0; v < 4; v++) total[v] += widened(a + d + v * STEP) * widened(b + d + v * STEP);
    const wide sums = (total[0] + total[1]) + (total[2] + total[3]);
    double sum = 0;
    for (int v = 0; v < STEP; v++) sum += sums[v];
    for (; d < dimensions; d++) sum += (double)a[d] * b[d];
    return sum;
}

/* The scales are multiplied first, so that the cosine of i and j is that of j and i to the last bit. */
INLINE double cosine(double dot, double inverse_i, double inverse_j) { return on_grid(dot * (inverse_i * inverse_j)); }

/* The dot product in float32: its error is at most (dimensions / (4 LANES) + 2 LANES) roundings. */
INLINE float quick_dot(const float *a, const float *b, int64_t dimensions)
{
    vec total[4] = {{0}, {0}, {0}, {0}};
    int64_t d = 0;
    for (; d + 4 * LANES <= dimensions; d += 4 * LANES)
        UNROLL for (int v = 0; v < 4; v++) total[v] += load(a + d + v * LANES) * load(b + d + v * LANES);
    const vec sums = (total[0] + total[1]) + (total[2] + total[3]);
    float sum = 0;
    for (int v = 0; v < LANES; v++) sum += sums[v];
    double rest = 0;
    for (; d < dimensions; d++) rest += (double)a[d] * b[d];
    return (float)(sum + rest);
}

/* The dot product of a sparse row with a row spread over `line`. */
INLINE double sparse_dot(const int32_t *columns, const float *values, int64_t count, const float *line)
{
    double sum = 0;
    for (int64_t k = 0; k < count; k++) sum += (double)values[k] * line[columns[k]];
    return sum;
}

/* Put (score, index) into a list sorted by falling magnitude, then rising index; what falls off the end is dropped. */
INLINE void rank(double *scores, int32_t *indices, int64_t kept, int64_t *count, double score, int32_t index)
{
    int64_t at = *count < kept ? *count : kept;
    while (at > 0 && (fabs(score) > fabs(scores[at - 1]) || (fabs(score) == fabs(scores[at - 1]) && index < indices[at - 1]))) {
        if (at < kept) {
            scores[at] = scores[at - 1];
            indices[at] = indices[at - 1];
        }
        at--;
    }
    if (at < kept) {
        scores[at] = score;
        indices[at] = index;
        if (*count < kept) ++*count;
    }
}

/* What a row is called in the lists, and ordered by where scores tie: its number, or its name if rows were reordered. */
INLINE int32_t called(const int32_t *names, int64_t row) { return names ? names[row] : (int32_t)row; }

/* Is it proved that no row outside the candidates belongs to the list? Those have scores of at most `best_rejected` in
 * float32, off by at most `error`; and a score that is not positive has no weight. */
INLINE int proved(const double *scores, int64_t kept, int64_t count, float best_rejected, double error)
{
    if (best_rejected == -INFINITY) return 1; /* nothing was rejected */
    const double bound = best_rejected + error;
    return bound <= 0 || (count == kept && fabs(scores[kept - 1]) > bound);
}

/* The exact best of the candidates of rows [first, last): sorted lists of `listed`, -1 beyond the last. A row whose list is
 * not proved complete is marked in `contested`. */
void rank_dense(const float *rows, int64_t dimensions, int64_t first, int64_t last, const double *inverse_norms,
                const int32_t *names, int64_t signed_too, const float *scores, const int32_t *indices, int64_t kept,
                double error, int64_t listed, double *list_scores, int32_t *list_indices, int8_t *contested)
{
    for (int64_t i = first; i < last; i++) {
        double *list = list_scores + i * listed;
        int32_t *list_names = list_indices + i * listed;
        int64_t count = 0;
        for (int64_t k = 0; k < listed; k++) { list[k] = 0; list_names[k] = -1; }
        for (int64_t k = i * kept; k < (i + 1) * kept; k++) {
            const int64_t j = indices[k];
            if (j < 0) continue;
            const double score = cosine(dense_dot(rows + i * dimensions, rows + j * dimensions, dimensions),
                                        inverse_norms[i], inverse_norms[j]);
            if (signed_too ? score != 0 : score > 0) rank(list, list_names, listed, &count, score, called(names, j));
        }
        contested[i] = !proved(list, listed, count, scores[i * kept], error);
    }
}

void rank_sparse(const int64_t *starts, const int32_t *columns, const float *values, int64_t first, int64_t last,
                 const double *inverse_norms, const int32_t *names, const float *scores, const int32_t *indices,
                 int64_t kept, int64_t listed, double *list_scores, int32_t *list_indices, int8_t *contested,
                 float *line)
{
    for (int64_t i = first; i < last; i++) {
        double *list = list_scores + i * listed;
        int32_t *list_names = list_indices + i * listed;
        int64_t count = 0;
        for (int64_t k = 0; k < listed; k++) { list[k] = 0; list_names[k] = -1; }
        for (int64_t k = starts[i]; k < starts[i + 1]; k++) line[columns[k]] = values[k];
        for (int64_t k = i * kept; k < (i + 1) * kept; k++) {
            const int64_t j = indices[k];
            if (j < 0) continue;
            const double score = cosine(sparse_dot(columns + starts[j], values + starts[j], starts[j + 1] - starts[j], line),
                                        inverse_norms[i], inverse_norms[j]);
            if (score > 0) rank(list, list_names, listed, &count, score, called(names, j));
        }
        for (int64_t k = starts[i]; k < starts[i + 1]; k++) line[columns[k]] = 0;
        /* All terms are positive, so that a rejected 0 is a true 0; else one rounding for each term of the sum. */
        const float rejected = scores[i * kept];
        const double error = (double)(starts[i + 1] - starts[i] + 8) * 0x1p-24 * 1.01;
        contested[i] = rejected != 0 && !proved(list, listed, count, rejected, error);
    }
}

/* Is a list that was filled by rising index full of ones? Then no later row can enter it: many equal cells stop early. */
INLINE int settled(const int32_t *names, const double *scores, int64_t kept, int64_t count)
{
    return !names && count == kept && fabs(scores[kept - 1]) >= 1;
}

/* Contested rows, at most LISTED_ROWS of them, against all rows in some ranges: whatever could beat the end of the list that
 * the candidates gave, by a quick score and its error, is scored exactly. */
void scan_dense(const float *rows, const int64_t *ranges, int64_t n_ranges, int64_t dimensions, const int32_t *which,
                int64_t n_which, const double *inverse_norms, const int32_t *names, int64_t signed_too, int64_t listed,
                double *list_scores, int32_t *list_indices, const volatile int32_t *cancelled)
{
    const double error = (double)(dimensions / (4 * LANES) + 2 * LANES + 8) * 0x1p-24 * 1.01;
    double bars[LISTED_ROWS];
    int64_t counts[LISTED_ROWS];
    for (int64_t w = 0; w < n_which; w++) {
        double *list = list_scores + which[w] * listed;
        bars[w] = list_indices[(which[w] + 1) * listed - 1] < 0 ? 0 : fabs(list[listed - 1]);
        counts[w] = 0;
        for (int64_t k = 0; k < listed; k++) { list[k] = 0; list_indices[which[w] * listed + k] = -1; }
    }
    for (int64_t r = 0; r < n_ranges; r++)
        for (int64_t j = ranges[2 * r]; j < ranges[2 * r + 1]; j++) {
            if (j % TILE == 0 && *cancelled) return;
            for (int64_t w = 0; w < n_which; w++) {
                const int64_t i = which[w];
                if (settled(names, list_scores + i * listed, listed, counts[w])) continue;
                const float *a = rows + i * dimensions, *b = rows + j * dimensions;
                double quick = quick_dot(a, b, dimensions) * (inverse_norms[i] * inverse_norms[j]);
                if (signed_too) quick = fabs(quick);
                if (quick + error < bars[w]) continue;
                const double score = cosine(dense_dot(a, b, dimensions), inverse_norms[i], inverse_norms[j]);
                if (signed_too ? score != 0 : score > 0)
                    rank(list_scores + i * listed, list_indices + i * listed, listed, counts + w, score, called(names, j));
            }
        }
}

void scan_sparse(const int64_t *starts, const int32_t *columns, const float *values, const int64_t *ranges,
                 int64_t n_ranges, int64_t row, const double *inverse_norms, const int32_t *names, int64_t listed,
                 double *list_scores, int32_t *list_indices, float *line)
{
    double *list = list_scores + row * listed;
    int32_t *list_names = list_indices + row * listed;
    int64_t found = 0;
    for (int64_t k = 0; k < listed; k++) { list[k] = 0; list_names[k] = -1; }
    for (int64_t k = starts[row]; k < starts[row + 1]; k++) line[columns[k]] = values[k];
    for (int64_t r = 0; r < n_ranges; r++)
        for (int64_t j = ranges[2 * r]; j < ranges[2 * r + 1] && !settled(names, list, listed, found); j++) {
            const double score = cosine(sparse_dot(columns + starts[j], values + starts[j], starts[j + 1] - starts[j], line),
                                        inverse_norms[row], inverse_norms[j]);
            if (score > 0) rank(list, list_names, listed, &found, score, called(names, j));
        }
    for (int64_t k = starts[row]; k < starts[row + 1]; k++) line[columns[k]] = 0;
}

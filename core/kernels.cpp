// Networks of S replicas on the CPU: each thread carries its own rows through every layer, and through every step of a
// sampling chain, inside its cache; nothing waits for another thread until the whole pass is done.
//
// A network is linear, Mish, ..., linear, with `depth` hidden layers of `hidden` units. Inside, rows are padded to whole
// vectors, weights are repacked into panels of two vectors, and kept tensors hold what each hidden layer was before its
// activation. Compiled at run time by core/native.py, once for each scalar type T; core/network_pass.py says the same in torch.
//
// With HALF the products between hidden layers, nearly all of the work, take their factors rounded to bfloat16, two
// neighbours along the summed axis in one word (a `Pair`), and add in float32. All else is as without: the first layer, so
// that inputs are not rounded, the last, activations, gradients, what is kept and what is learned.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <vector>
#ifdef __AVX512F__
#include <immintrin.h>
#endif
#ifdef __SSE__
#include <xmmintrin.h>
#endif

namespace {
using std::min;

// In its lifetime this thread takes numbers too small for full precision (below 1e-38 in float32) for 0. Units that have
// saturated pass on gradients like that, and a processor multiplies them a hundred times slower than others.
struct FlushDenormals {
#ifdef __SSE__
    const unsigned before = _mm_getcsr();
    FlushDenormals() { _mm_setcsr(before | 0x8040); }
    ~FlushDenormals() { _mm_setcsr(before); }
#endif
};

// a vector is one register; a tile of TALL rows by two vectors, with its factors, is what the registers hold
#if defined(__AVX512F__)
constexpr int BYTES = 64, TALL = 12;
#elif defined(__AVX__)
constexpr int BYTES = 32, TALL = 6;
#else
constexpr int BYTES = 16, TALL = 6;
#endif

template <class S> struct Simd {
    static constexpr long n = BYTES / sizeof(S);
    typedef S V __attribute__((vector_size(BYTES), aligned(sizeof(S)), may_alias));
    typedef std::conditional_t<sizeof(S) == 4, int32_t, int64_t> I;
    typedef I VI __attribute__((vector_size(BYTES), aligned(sizeof(S)), may_alias));
};
using V = Simd<T>::V;
constexpr long LANES = Simd<T>::n, PANEL = 2 * LANES;

constexpr long pad(long n) { return (n + LANES - 1) / LANES * LANES; }
inline V& at(T* p) { return *reinterpret_cast<V*>(p); }
inline const V& at(const T* p) { return *reinterpret_cast<const V*>(p); }

struct Pair { uint32_t both; };
#ifdef HALF
constexpr bool halves = true;
inline V load(const T* p) { return at(p); }
inline __m512bh load(const Pair* p) { return (__m512bh)_mm512_loadu_si512(p); }
inline __m512 plus_product(__m512 sum, Pair a, __m512bh b) {
    return _mm512_dpbf16_ps(sum, (__m512bh)_mm512_set1_epi32((int)a.both), b);
}
// neighbours of two vectors in a row
inline V paired_along(V first, V second) { return (V)_mm512_cvtne2ps_pbh((__m512)second, (__m512)first); }
// each entry of one with that of the other
inline V paired_across(V even, V odd) {
    __m512i low = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh((__m512)even));
    __m512i high = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh((__m512)odd));
    return (V)_mm512_or_si512(low, _mm512_slli_epi32(high, 16));
}
#else
constexpr bool halves = false;
inline V load(const T* p) { return at(p); }
V load(const Pair*), paired_along(V, V), paired_across(V, V);
V plus_product(V, Pair, V);
#endif
inline V plus_product(V sum, T a, V b) { return sum + a * b; }
inline V& at(Pair* p) { return *reinterpret_cast<V*>(p); }

constexpr double inverse_factorial(int n) { return n < 2 ? 1.0 : inverse_factorial(n - 1) / n; }

#ifdef __AVX512F__
constexpr bool looked_up = sizeof(T) == 4;
// 2^(j / 16) for j = 0 .. 15
const V roots = [] {
    V all;
    for (long j = 0; j < LANES; ++j) all[j] = T(std::exp2(j / 16.0));
    return all;
}();
inline V root(V shifted) { return (V)_mm512_permutexvar_ps((__m512i)shifted, (__m512)roots); }
#else
constexpr bool looked_up = false;
inline V root(V shifted) { return shifted; }
#endif

// e^x, exact to rounding: 2^k times a Taylor polynomial on [-ln 2 / 2, ln 2 / 2], or, where a vector of 16 can be looked
// up in, 2^(k / 16) times a shorter one on a sixteenth of that
inline V exponential(V x) {
    constexpr bool single = sizeof(T) == 4;
    constexpr T magic = single ? T(12582912.0) : T(6755399441055744.0), low = single ? -87 : -708;
    constexpr T ln2_high = single ? T(0.693359375) : T(6.93145751953125e-1);
    constexpr T ln2_low = single ? T(-2.12194440e-4) : T(1.42860682030941723212e-6);
    constexpr T parts = looked_up ? 16 : 1;
    x = x > low ? x : V{} + low;
    V shifted = x * (parts * T(1.44269504088896340736)) + magic, k = shifted - magic;
    V r = x - k * (ln2_high / parts) - k * (ln2_low / parts), p = V{} + T(1);
    constexpr int order = looked_up ? 3 : single ? 7 : 13;
    p *= T(inverse_factorial(order));
    for (int i = order - 1; i >= 0; --i) p = p * r + T(inverse_factorial(i));
    if constexpr (looked_up) p *= root(shifted);
    auto bits = ((typename Simd<T>::VI&)shifted >> (looked_up ? 4 : 0)) << (single ? 23 : 52);
    bits += (typename Simd<T>::VI&)p;
    return (V&)bits;
}

inline V reciprocal(V x) {
#ifdef __AVX512F__
    // one step of Newton's from 14 bits: exact to rounding, and several times faster than division
    if constexpr (sizeof(T) == 4) {
        V r = (V)_mm512_rcp14_ps((__m512)x);
        return r + r * (1 - x * r);
    }
#endif
    return 1 / x;
}

// Mish, and its slope where asked: with n = e^x (e^x + 2), x n / (n + 2) and (n + 4 x (n - e^x) / (n + 2)) / (n + 2)
template <bool SLOPE, int VECTORS> inline void mish_of(const T* z, T* value, T* slope) {
    V e[VECTORS];
#pragma GCC unroll 4
    for (int v = 0; v < VECTORS; ++v) {
        V x = at(z + v * LANES);
        e[v] = exponential(x < T(20) ? x : V{} + T(20));
    }
#pragma GCC unroll 4
    for (int v = 0; v < VECTORS; ++v) {
        V x = at(z + v * LANES), m = e[v] * (e[v] + 2), r = reciprocal(m + 2), share = m * r;
        at(value + v * LANES) = x * share;
        if (SLOPE) at(slope + v * LANES) = share + 4 * x * (r * r) * (m - e[v]);
    }
}

// four vectors at a time, whose operations do not wait for each other
template <bool SLOPE> inline void mish(const T* z, T* value, T* slope, long n) {
    long i = 0;
    for (; i + 4 * LANES <= n; i += 4 * LANES) mish_of<SLOPE, 4>(z + i, value + i, slope + i);
    for (; i < n; i += LANES) mish_of<SLOPE, 1>(z + i, value + i, slope + i);
}

// MR rows by NV vectors of c += a b over k = 0 .. K - 1, held in registers
template <int MR, int NV, class E>
void tile(long K, const E* a, long a_row, long a_k, const E* b, long b_k, T* c, long c_row) {
    decltype(plus_product(V{}, E{}, load(b))) sum[MR][NV];
#pragma GCC unroll 12
    for (int i = 0; i < MR; ++i)
        for (int j = 0; j < NV; ++j) sum[i][j] = at(c + i * c_row + j * LANES);
    for (long k = 0; k < K; ++k) {
        decltype(load(b)) right[NV];
        for (int j = 0; j < NV; ++j) right[j] = load(b + k * b_k + j * LANES);
#pragma GCC unroll 12
        for (int i = 0; i < MR; ++i)
            for (int j = 0; j < NV; ++j) sum[i][j] = plus_product(sum[i][j], a[i * a_row + k * a_k], right[j]);
    }
#pragma GCC unroll 12
    for (int i = 0; i < MR; ++i)
        for (int j = 0; j < NV; ++j) at(c + i * c_row + j * LANES) = sum[i][j];
}

template <int MR, int NV, class... A> void tile_of(int rows, A... args) {
    if (rows == MR) tile<MR, NV>(args...);
    else if constexpr (MR > 1) tile_of<MR - 1, NV>(rows, args...);
}

// c[M, N] += a[M, K] b[K, N]; N a multiple of LANES; b in panels (packed), or plain rows `b_row` apart; K counts pairs of Pair
template <class E>
void product(long M, long N, long K, const E* a, long a_row, long a_k, const E* b, long b_row, T* c, long c_row) {
    long tiles = (M + TALL - 1) / TALL;
    for (long n = 0; n < N; n += PANEL) {
        bool wide = N - n >= PANEL;
        const E* panel = b_row ? b + n : b + n * K;
        long b_k = b_row ? b_row : wide ? PANEL : LANES;
        for (long t = 0; t < tiles; ++t) {
            long from = M * t / tiles, rows = M * (t + 1) / tiles - from;
            const E* left = a + from * a_row;
            T* out = c + from * c_row + n;
            if (wide) tile_of<TALL, 2>(rows, K, left, a_row, a_k, panel, b_k, out, c_row);
            else tile_of<TALL, 1>(rows, K, left, a_row, a_k, panel, b_k, out, c_row);
        }
    }
}

// the transpose of a square of vectors, by halves
inline void transpose(V* rows) {
#pragma GCC unroll 4
    for (long s = 1; s < LANES; s *= 2) {
        typename Simd<T>::VI upper, lower;
        for (long l = 0; l < LANES; ++l) {
            upper[l] = l & s ? LANES + l - s : l;
            lower[l] = l & s ? LANES + l : l + s;
        }
#pragma GCC unroll 16
        for (long i = 0; i < LANES; ++i)
            if (!(i & s)) {
                V a = rows[i], b = rows[i + s];
                rows[i] = __builtin_shuffle(a, b, upper);
                rows[i + s] = __builtin_shuffle(a, b, lower);
            }
    }
}

// `step` entries of a row from `row`, of which `real` are there: one vector of E
template <class E> inline V few(const T* row, long real) {
    alignas(BYTES) T values[2 * LANES] = {};
    const T* from = row;
    constexpr long step = std::is_same_v<E, T> ? LANES : 2 * LANES;
    if (real < step) std::copy_n(row, std::max(real, 0L), values), from = values;
    if constexpr (std::is_same_v<E, T>) return at(from);
    else return paired_along(at(from), at(from + LANES));
}

// b[N, K], rows `n_stride` apart, transposed into zero-padded panels of K entries (of T, or pairs of them)
template <class E> void pack_transposed(const T* b, long K, long N, long n_stride, E* to) {
    constexpr long each = std::is_same_v<E, T> ? 1 : 2;
    long deep = (K + each - 1) / each;
    for (long n = 0; n < pad(N); n += PANEL) {
        long width = min(PANEL, pad(N) - n);
        for (long k = 0; k < deep; k += LANES)
            for (long j = 0; j < width; j += LANES) {
                V square[LANES];
                for (long i = 0; i < LANES; ++i) {
                    long row = n + j + i;
                    square[i] = row < N ? few<E>(b + row * n_stride + k * each, K - k * each) : V{};
                }
                transpose(square);
                for (long i = 0; i < min(LANES, deep - k); ++i) at(to + (k + i) * width + j) = square[i];
            }
        to += deep * width;
    }
}

// b[K, N], rows N apart, into zero-padded panels
void pack(const T* b, long K, long N, T* to) {
    for (long n = 0; n < pad(N); n += PANEL) {
        long width = min(PANEL, pad(N) - n), real = min(width, N - n);
        for (long k = 0; k < K; ++k) {
            std::copy_n(b + k * N + n, real, to + k * width);
            std::fill(to + k * width + real, to + (k + 1) * width, T(0));
        }
        to += K * width;
    }
}

void pack(const T* b, long K, long N, Pair* to) {
    for (long n = 0; n < pad(N); n += PANEL)
        for (long k = 0; k < K; k += 2)
            for (long j = n; j < min(n + PANEL, pad(N)); j += LANES, to += LANES) {
                const T* row = b + k * N + j;
                at(to) = paired_across(few<T>(row, N - j), k + 1 < K ? few<T>(row + N, N - j) : V{});
            }
}

// `size` entries, whole vectors, to pairs of neighbours
Pair* pairs_along(const T* from, long size, Pair* to) {
    for (long i = 0; i < size; i += 2 * LANES)
        at(to + i / 2) = paired_along(at(from + i), i + LANES < size ? at(from + i + LANES) : V{});
    return to;
}

// rows of `n` entries, whole vectors, to half as many of pairs of neighbouring rows
Pair* pairs_across(const T* rows, long count, long n, Pair* to) {
    for (long r = 0; r < count; r += 2)
        for (long i = 0; i < n; i += LANES)
            at(to + r / 2 * n + i) = paired_across(at(rows + r * n + i), r + 1 < count ? at(rows + (r + 1) * n + i) : V{});
    return to;
}

void fill_rows(const T* values, long n, T* to, long rows) {
    for (long r = 0; r < rows; ++r) {
        std::copy_n(values, n, to + r * pad(n));
        std::fill(to + r * pad(n) + n, to + (r + 1) * pad(n), T(0));
    }
}

void add_columns(const T* rows, long count, long n, T* to) {
    for (long r = 0; r < count; ++r)
        for (long i = 0; i < n; i += LANES) at(to + i) += at(rows + r * n + i);
}

// memory of one thread, kept from call to call
T* room(long size, int which = 0) {
    thread_local std::vector<T> rooms[3];
    auto& mine = rooms[which];
    if ((long)mine.size() < size + LANES) mine.resize(size + LANES);
    return (T*)(((uintptr_t)mine.data() + BYTES - 1) / BYTES * BYTES);
}

// rows that pass through a network together
constexpr long STRIP = 64;

struct Net {
    long lead, rows, in, hidden, depth, out, blocks, threads;
    const T *const *weights, *const *biases;  // [depth + 1], each [lead, in, out] and [lead, out]

    long ins(long j) const { return j ? hidden : in; }
    long outs(long j) const { return j < depth ? hidden : out; }
    long wide() const { return pad(hidden); }
    // whether a layer's products are of halves
    bool half(long j) const { return halves && j && j < depth; }
    // where one thread pairs entries of as many as `strips` strips of rows
    Pair* pairs(long strips) const { return halves ? (Pair*)room(strips * STRIP * (wide() / 2 + LANES), 2) : nullptr; }
    long packed(bool back) const {
        long total = 0;
        for (long j = 0; j <= depth; ++j) total += back ? outs(j) * pad(ins(j)) : ins(j) * pad(outs(j));
        return total;
    }
    // panels of layer j of replica l, transposed for the way back
    T* panels(T* all, long l, long j, bool back) const {
        T* at = all + l * packed(back);
        for (long i = 0; i < j; ++i) at += back ? outs(i) * pad(ins(i)) : ins(i) * pad(outs(i));
        return at;
    }
    T* pack_all(T* all, bool back) const {
#pragma omp parallel for collapse(2) num_threads(threads) schedule(dynamic)
        for (long l = 0; l < lead; ++l)
            for (long j = 0; j <= depth; ++j) {
                const T* w = weights[j] + l * ins(j) * outs(j);
                T* to = panels(all, l, j, back);
                if (back && half(j)) pack_transposed(w, outs(j), ins(j), outs(j), (Pair*)to);
                else if (back) pack_transposed(w, outs(j), ins(j), outs(j), to);
                else if (half(j)) pack(w, ins(j), outs(j), (Pair*)to);
                else pack(w, ins(j), outs(j), to);
            }
        return all;
    }
    // each block of at most STRIP rows of each replica, in `blocks` pieces that threads take as they come free
    template <class F> void each_piece(F work) const {
#pragma omp parallel for collapse(2) num_threads(threads) schedule(dynamic)
        for (long l = 0; l < lead; ++l)
            for (long b = 0; b < blocks; ++b) {
                FlushDenormals flush;
                work(l, b, rows * b / blocks, rows * (b + 1) / blocks);
            }
    }

    // z[0] holds what is added to x w_0; on return z[j] is layer j before its activation, y `[rows, pad(out)]` the output
    void forward(T* all, long l, long count, const T* x, T* const* z, T* h, T* y) const {
        for (long j = 0; j <= depth; ++j) {
            T* to = j < depth ? z[j] : y;
            if (j) fill_rows(biases[j] + l * outs(j), outs(j), to, count);
            if (half(j)) {
                Pair* left = pairs_along(h, count * wide(), pairs(1));
                auto* right = (const Pair*)panels(all, l, j, false);
                product(count, wide(), (hidden + 1) / 2, left, wide() / 2, 1, right, 0, to, wide());
            } else {
                long step = j ? wide() : in;
                product(count, pad(outs(j)), ins(j), j ? h : x, step, 1, panels(all, l, j, false), 0, to, pad(outs(j)));
            }
            if (j < depth) mish<false>(z[j], h, nullptr, count * wide());
        }
    }
    // gradients of layers 1 .. depth added to `grads`, where asked; returns the gradient of z[0], in one of g[0], g[1]
    T* backward(T* all, long l, long count, T* of_y, const T* const* z, T* h, T* slope, T* const* g, T* grads) const {
        T* of_out = of_y;
        for (long j = depth; j; --j) {
            mish<true>(z[j - 1], h, slope, count * wide());
            if (grads) add_layer(j, count, h, wide(), of_out, grads);
            T* of_in = g[j % 2];
            std::fill_n(of_in, count * wide(), T(0));
            if (half(j)) {
                Pair* left = pairs_along(of_out, count * wide(), pairs(1));
                auto* right = (const Pair*)panels(all, l, j, true);
                product(count, wide(), (hidden + 1) / 2, left, wide() / 2, 1, right, 0, of_in, wide());
            } else
                product(count, wide(), outs(j), of_out, pad(outs(j)), 1, panels(all, l, j, true), 0, of_in, wide());
            for (long i = 0; i < count * wide(); i += LANES) at(of_in + i) *= at(slope + i);
            of_out = of_in;
        }
        return of_out;
    }
    long grads_size() const { return packed(false) + (depth + 1) * std::max(wide(), pad(out)); }
    T* bias_grad(T* grads, long j) const { return grads + packed(false) + j * std::max(wide(), pad(out)); }
    void add_layer(long j, long count, const T* x, long x_row, const T* of_out, T* grads) const {
        long n = pad(outs(j));
        if (half(j)) {
            Pair *left = pairs(2), *right = left + STRIP / 2 * n;
            pairs_across(x, count, n, left);
            pairs_across(of_out, count, n, right);
            product(hidden, n, (count + 1) / 2, left, 1, n, right, n, panels(grads, 0, j, false), n);
        } else
            product(ins(j), n, count, x, 1, x_row, of_out, n, panels(grads, 0, j, false), n);
        add_columns(of_out, count, n, bias_grad(grads, j));
    }
    // the sum of the pieces' gradients, unpadded
    void reduce(T* pieces, long size, T* const* of_weights, T* const* of_biases) const {
#pragma omp parallel for collapse(2) num_threads(threads) schedule(dynamic)
        for (long l = 0; l < lead; ++l)
            for (long j = 0; j <= depth; ++j) {
                T* first = pieces + l * blocks * size;
                long n = outs(j);
                for (long b = 0; b < blocks; ++b)
                    for (long k = 0; k <= ins(j); ++k) {
                        const T* from = first + b * size;
                        from = k < ins(j) ? panels((T*)from, 0, j, false) + k * pad(n) : bias_grad((T*)from, j);
                        T* to = k < ins(j) ? of_weights[j] + (l * ins(j) + k) * n : of_biases[j] + l * n;
                        for (long i = 0; i < n; ++i) to[i] = b ? to[i] + from[i] : from[i];
                    }
            }
    }
};
}  // namespace

extern "C" {
// entries of a vector: how far rows are padded
extern const long lanes = LANES;

// y[lead, rows, out] from x[lead / share, rows, in]; kept[depth, lead, rows, pad(hidden)] is null where nothing is kept
void mlp_forward(const Net* net, long share, const T* x, T* kept, T* y) {
    const Net& n = *net;
    T* all = n.pack_all(room(n.lead * n.packed(false), 1), false);
    n.each_piece([&](long l, long, long begin, long end) {
        long w = n.wide();
        T* h = room(STRIP * (w * (1 + n.depth) + pad(n.out)));
        T *y_pad = h + STRIP * w, *own = y_pad + STRIP * pad(n.out), *z[16];
        for (long from = begin; from < end; from += STRIP) {
            long count = min(STRIP, end - from);
            for (long j = 0; j < n.depth; ++j)
                z[j] = kept ? kept + ((j * n.lead + l) * n.rows + from) * w : own + j * STRIP * w;
            fill_rows(n.biases[0] + l * n.hidden, n.hidden, z[0], count);
            n.forward(all, l, count, x + (l / share * n.rows + from) * n.in, z, h, y_pad);
            for (long r = 0; r < count; ++r)
                std::copy_n(y_pad + r * pad(n.out), n.out, y + (l * n.rows + from + r) * n.out);
        }
    });
}

// of_x[lead, rows, in] and the gradients of weights and biases, each where not null
void mlp_backward(const Net* net, long share, const T* x, const T* kept, const T* of_y, T* of_x, T* const* of_weights,
                  T* const* of_biases) {
    const Net& n = *net;
    long w = n.wide(), size = of_weights ? n.grads_size() : 0;
    T* all = n.pack_all(room(n.lead * (n.packed(true) + n.blocks * size), 1), true);
    T* pieces = all + n.lead * n.packed(true);
    n.each_piece([&](long l, long b, long begin, long end) {
        T* grads = of_weights ? pieces + (l * n.blocks + b) * size : nullptr;
        if (grads) std::fill_n(grads, size, T(0));
        T* h = room(STRIP * (4 * w + pad(n.out) + pad(n.in)));
        T *slope = h + STRIP * w, *g[2] = {slope + STRIP * w, slope + 2 * STRIP * w}, *of_out = g[1] + STRIP * w;
        T* of_in = of_out + STRIP * pad(n.out);
        const T* z[16];
        for (long from = begin; from < end; from += STRIP) {
            long count = min(STRIP, end - from), row = l * n.rows + from;
            for (long j = 0; j < n.depth; ++j) z[j] = kept + ((j * n.lead + l) * n.rows + from) * w;
            for (long r = 0; r < count; ++r) fill_rows(of_y + (row + r) * n.out, n.out, of_out + r * pad(n.out), 1);
            T* of_z = n.backward(all, l, count, of_out, z, h, slope, g, grads);
            if (grads) n.add_layer(0, count, x + (l / share * n.rows + from) * n.in, n.in, of_z, grads);
            if (!of_x) continue;
            std::fill_n(of_in, count * pad(n.in), T(0));
            product(count, pad(n.in), n.hidden, of_z, w, 1, n.panels(all, l, 0, true), 0, of_in, pad(n.in));
            for (long r = 0; r < count; ++r) std::copy_n(of_in + r * pad(n.in), n.in, of_x + (row + r) * n.in);
        }
    });
    if (of_weights) n.reduce(pieces, size, of_weights, of_biases);
}

// policies/chain.py: noise[lead, steps + 1, rows, act], c[steps, 5], context[lead, rows, hidden], at_time[lead, steps,
// hidden] -> x[lead, rows, act]; kept[depth, lead, steps, rows, pad(hidden)] and states[lead, steps, rows, 2, act]
void chain_forward(const Net* net, long steps, T clip, const T* c, const T* noise, const T* context, const T* at_time,
                   T* kept, T* states, T* result) {
    const Net& n = *net;
    T* all = n.pack_all(room(n.lead * n.packed(false), 1), false);
    n.each_piece([&](long l, long, long begin, long end) {
        long w = n.wide(), act = n.in;
        T* h = room(STRIP * (w * (1 + n.depth) + pad(act) + act));
        T *y = h + STRIP * w, *x = y + STRIP * pad(act), *own = x + STRIP * act, *z[16];
        for (long from = begin; from < end; from += STRIP) {
            long count = min(STRIP, end - from);
            std::copy_n(noise + (l * (steps + 1) * n.rows + from) * act, count * act, x);
            for (long t = 0; t < steps; ++t) {
                const T *k = c + 5 * t, *time = at_time + (l * steps + t) * n.hidden;
                const T* drawn = noise + ((l * (steps + 1) + t + 1) * n.rows + from) * act;
                long row = (l * steps + t) * n.rows + from;
                for (long j = 0; j < n.depth; ++j)
                    z[j] = kept ? kept + (j * n.lead * steps * n.rows + row) * w : own + j * STRIP * w;
                fill_rows(time, n.hidden, z[0], count);
                for (long r = 0; r < count; ++r)
                    for (long i = 0; i < n.hidden; ++i) z[0][r * w + i] += context[(l * n.rows + from + r) * n.hidden + i];
                n.forward(all, l, count, x, z, h, y);
                for (long r = 0; r < count; ++r)
                    for (long i = 0; i < act; ++i) {
                        T& now = x[r * act + i];
                        T x0 = k[0] * now + k[1] * y[r * pad(act) + i];
                        if (states) states[(row + r) * 2 * act + i] = now;
                        if (states) states[((row + r) * 2 + 1) * act + i] = x0;
                        now = k[2] * (x0 < -clip ? -clip : x0 > clip ? clip : x0) + k[3] * now + k[4] * drawn[r * act + i];
                    }
            }
            std::copy_n(x, count * act, result + (l * n.rows + from) * act);
        }
    });
}

// the gradients of context, at_time, weights and biases[1 ..] from that of the result
void chain_backward(const Net* net, long steps, T clip, const T* c, const T* kept, const T* states, const T* of_result,
                    T* of_context, T* of_time, T* const* of_weights, T* const* of_biases) {
    const Net& n = *net;
    long w = n.wide(), act = n.in, size = n.grads_size() + steps * w;
    T* all = n.pack_all(room(n.lead * (n.packed(true) + n.blocks * size), 1), true);
    T* pieces = all + n.lead * n.packed(true);
    n.each_piece([&](long l, long b, long begin, long end) {
        T *grads = pieces + (l * n.blocks + b) * size, *times = grads + n.grads_size();
        std::fill_n(grads, size, T(0));
        T* h = room(STRIP * (5 * w + 2 * pad(act) + 2 * act));
        T *slope = h + STRIP * w, *g[2] = {slope + STRIP * w, slope + 2 * STRIP * w}, *sum = g[1] + STRIP * w;
        T *of_out = sum + STRIP * w, *of_in = of_out + STRIP * pad(act), *x = of_in + STRIP * pad(act);
        T* of_x = x + STRIP * act;
        const T* z[16];
        for (long from = begin; from < end; from += STRIP) {
            long count = min(STRIP, end - from);
            std::copy_n(of_result + (l * n.rows + from) * act, count * act, of_x);
            std::fill_n(sum, count * w, T(0));
            std::fill_n(of_out, count * pad(act), T(0));
            for (long t = steps; t--;) {
                const T* k = c + 5 * t;
                long row = (l * steps + t) * n.rows + from;
                for (long j = 0; j < n.depth; ++j) z[j] = kept + (j * n.lead * steps * n.rows + row) * w;
                for (long r = 0; r < count; ++r)
                    for (long i = 0; i < act; ++i) {
                        const T* state = states + (row + r) * 2 * act + i;
                        T& of = of_x[r * act + i];
                        T of_x0 = state[act] >= -clip && state[act] <= clip ? k[2] * of : T(0);
                        x[r * act + i] = state[0];
                        of_out[r * pad(act) + i] = k[1] * of_x0;
                        of = k[3] * of + k[0] * of_x0;
                    }
                T* of_z = n.backward(all, l, count, of_out, z, h, slope, g, grads);
                n.add_layer(0, count, x, act, of_z, grads);
                add_columns(of_z, count, w, times + t * w);
                for (long i = 0; i < count * w; i += LANES) at(sum + i) += at(of_z + i);
                std::fill_n(of_in, count * pad(act), T(0));
                product(count, pad(act), n.hidden, of_z, w, 1, n.panels(all, l, 0, true), 0, of_in, pad(act));
                for (long r = 0; r < count; ++r)
                    for (long i = 0; i < act; ++i) of_x[r * act + i] += of_in[r * pad(act) + i];
            }
            for (long r = 0; r < count; ++r)
                std::copy_n(sum + r * w, n.hidden, of_context + (l * n.rows + from + r) * n.hidden);
        }
    });
    n.reduce(pieces, size, of_weights, of_biases);
    for (long l = 0; l < n.lead; ++l)
        for (long t = 0; t < steps; ++t)
            for (long i = 0; i < n.hidden; ++i) {
                T total = 0;
                for (long b = 0; b < n.blocks; ++b)
                    total += pieces[(l * n.blocks + b) * size + n.grads_size() + t * w + i];
                of_time[(l * steps + t) * n.hidden + i] = total;
            }
}

// One step of Adam for `count` tensors [lead, sizes[i]], each replica's gradient scaled to at most `most` (if positive);
// norms[lead] receives the gradients' norms before that. `rate` and `root` are lr and sqrt bias-corrected for the step.
void adam(long count, long lead, long threads, const long* sizes, T* const* parameters, const T* const* grads,
          T* const* means, T* const* squares, T* norms, T most, T rate, T root, T beta1, T beta2, T eps) {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (long l = 0; l < lead; ++l) {
        FlushDenormals flush;
        V total{};
        T rest = 0;
        for (long i = 0; i < count; ++i) {
            const T* g = grads[i] + l * sizes[i];
            long n = sizes[i], k = 0;
            for (; k + LANES <= n; k += LANES) total += at(g + k) * at(g + k);
            for (; k < n; ++k) rest += g[k] * g[k];
        }
        for (long j = 0; j < LANES; ++j) rest += total[j];
        norms[l] = std::sqrt(rest);
    }
#pragma omp parallel for collapse(2) num_threads(threads) schedule(static)
    for (long i = 0; i < count; ++i)
        for (long l = 0; l < lead; ++l) {
            FlushDenormals flush;
            T scale = most > 0 ? min(T(1), most / (norms[l] + T(1e-6))) : T(1);
            long from = l * sizes[i];
            T *p = parameters[i] + from, *m = means[i] + from, *v = squares[i] + from;
            const T* g = grads[i] + from;
#pragma omp simd
            for (long k = 0; k < sizes[i]; ++k) {
                T gradient = scale * g[k];
                m[k] += (gradient - m[k]) * (1 - beta1);
                v[k] = beta2 * v[k] + (1 - beta2) * gradient * gradient;
                p[k] -= rate * m[k] / (std::sqrt(v[k]) / root + eps);
            }
        }
}
}

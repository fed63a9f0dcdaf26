/* What one thread can compute at most: fused multiply-adds of float32 that wait for nothing.
 * Prints GFLOP/s of the best of many short windows; two operations for each multiply-add. */
#define _POSIX_C_SOURCE 199309L
#include <stdio.h>
#include <time.h>

#if defined(__AVX512F__)
#define LANES 16
#elif defined(__AVX__)
#define LANES 8
#else
#define LANES 4
#endif
#define CHAINS 12 /* latency 4, two units: eight hide it, and twelve still fit into sixteen registers */
#define STEPS 2000000L
#define WINDOWS 40

typedef float lanes __attribute__((vector_size(4 * LANES)));

static double now(void)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec + 1e-9 * at.tv_nsec;
}

int main(void)
{
    lanes sums[CHAINS] = {{0}}, factor = {0}, term = {0};
    double best = 0;
    for (int lane = 0; lane < LANES; lane++) {
        factor[lane] = 0.999f;
        term[lane] = 0.001f;
    }
    for (int window = 0; window < WINDOWS; window++) {
        double started = now();
        for (long step = 0; step < STEPS; step++) {
#pragma GCC unroll 12
            for (int chain = 0; chain < CHAINS; chain++)
                sums[chain] = sums[chain] * factor + term;
        }
        double rate = 2.0 * LANES * CHAINS * STEPS / (now() - started) / 1e9;
        if (rate > best)
            best = rate;
    }
    volatile float kept = 0;
    for (int chain = 0; chain < CHAINS; chain++)
        for (int lane = 0; lane < LANES; lane++)
            kept += sums[chain][lane];
    printf("%.2f\n", best);
    return 0;
}

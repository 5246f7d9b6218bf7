// SPDX-License-Identifier: BSD-2-Clause
/* The region. Theory of operation: it is made as a shared mapping of a file, the image, and then becomes a private
 * one: what an input writes goes to copies of pages, which are given back to the kernel before the next. That costs a
 * fault for each, so of the pages that nearly every input writes the copies are kept, and get back what the image has:
 * which those are the kernel tells (/proc/self/pagemap), asked after some of the inputs. Between the objects lie gaps
 * that ASan knows. */
#include <fcntl.h>
#include <sanitizer/asan_interface.h> /* no-ops in a build without */
#include <sys/mman.h>
#include <unistd.h>

#include "tests/fuzz/server_world.h"

#define REGION (192U << 20) /* reserved; what is not touched costs nothing */
#define GAP    256U
#define PAGE   4096U
#define PAGES  (REGION / PAGE)

#define ASKED_FIRST 32U   /* inputs */
#define ASKED_THEN  1024U /* each so many */
#define OFTEN       2U    /* of those: its copy is kept */
#define RUNS        512U
#define REPLACED    8U /* spans of region_place_pages(), each as often as there are lives */

#define PAGE_PRESENT     (1ULL << 63) /* Documentation/admin-guide/mm/pagemap.rst */
#define PAGE_OF_THE_FILE (1ULL << 61)

struct run { /* of pages */
    uint32_t first, end;
};

static uint8_t *region;
static const uint8_t *pristine; /* the image */
static size_t region_used;
static int image = -1, pagemap = -1;
static struct run replaced[REPLACED]; /* by new pages, since the last reset */
static uint32_t replacements;
static uint32_t inputs;
static uint8_t written[PAGES]; /* how often, as far as was asked */
static struct run run[RUNS];   /* of pages that are kept */
static uint32_t runs;

void *region_place(size_t octets)
{
    void *at = region + region_used;
    size_t whole = (octets + 63) & ~(size_t)63;
    check(region_used + whole + GAP <= REGION);
    ASAN_POISON_MEMORY_REGION((uint8_t *)at + octets, whole - octets + GAP);
    region_used += whole + GAP;
    return at;
}

void *region_place_pages(size_t octets)
{
    region_used = (region_used + PAGE - 1) & ~(size_t)(PAGE - 1);
    return region_place(octets);
}

/* Of megabytes most was never touched, and zero is what new pages are. */
void region_zero(void *at, size_t octets)
{
    size_t whole = octets & ~(size_t)(PAGE - 1);
    memset((uint8_t *)at + whole, 0, octets - whole);
    if (whole == 0)
        return;
    check(mmap(at, whole, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0) ==
          at);
    uint32_t first = (uint32_t)((size_t)((uint8_t *)at - region) / PAGE), i = 0;
    while (i < replacements && replaced[i].first != first)
        i++;
    check(i < REPLACED);
    replaced[i] = (struct run){first, first + (uint32_t)(whole / PAGE)};
    replacements += i == replacements;
}

void region_make(void)
{
    image = memfd_create("world", MFD_CLOEXEC);
    check(image >= 0 && ftruncate(image, REGION) == 0);
    region = mmap(NULL, REGION, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, image, 0);
    check(region != MAP_FAILED);
}

static void map(struct run r)
{
    size_t offset = (size_t)r.first * PAGE, octets = (size_t)(r.end - r.first) * PAGE;
    check(mmap(region + offset, octets, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE, image,
               (off_t)offset) == region + offset);
}

void region_freeze(void)
{
    map((struct run){0, PAGES});
    pristine = mmap(NULL, REGION, PROT_READ, MAP_SHARED | MAP_NORESERVE, image, 0);
    check(pristine != MAP_FAILED);
    pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC); /* without it none are kept */
}

static void runs_find(void)
{
    runs = 0;
    for (uint32_t i = 0; i < PAGES; i++) {
        if (written[i] < OFTEN)
            continue;
        if (runs > 0 && run[runs - 1].end == i)
            run[runs - 1].end++;
        else if (runs < RUNS)
            run[runs++] = (struct run){i, i + 1};
    }
}

static void ask(void)
{
    static uint64_t page[PAGES];
    size_t octets = (region_used + PAGE - 1) / PAGE * sizeof page[0];
    if (pagemap < 0 ||
        pread(pagemap, page, octets, (off_t)((uintptr_t)region / PAGE * sizeof page[0])) != (ssize_t)octets)
        return;
    for (uint32_t i = 0; i < octets / sizeof page[0]; i++)
        if ((page[i] & (PAGE_PRESENT | PAGE_OF_THE_FILE)) == PAGE_PRESENT && written[i] < OFTEN)
            written[i]++;
    runs_find();
}

static void discard(uint32_t first, uint32_t end)
{
    check(first == end || madvise(region + (size_t)first * PAGE, (size_t)(end - first) * PAGE, MADV_DONTNEED) == 0);
}

/* Over the gaps, too. */
__attribute__((no_sanitize("address"), no_builtin("memcpy"))) static void restore(const struct run *r)
{
    uint64_t *to = (uint64_t *)(void *)(region + (size_t)r->first * PAGE);
    const uint64_t *from = (const uint64_t *)(const void *)(pristine + (size_t)r->first * PAGE);
    for (size_t i = 0; i < (size_t)(r->end - r->first) * PAGE / sizeof *to; i++)
        to[i] = from[i];
}

/* Pages that are kept count as written when asked again: kept they remain. */
void region_reset(void)
{
    uint32_t at = 0;
    while (replacements > 0)
        map(replaced[--replacements]);
    if (inputs++ < ASKED_FIRST || inputs % ASKED_THEN == 0)
        ask();
    for (uint32_t i = 0; i < runs; i++) {
        discard(at, run[i].first);
        restore(&run[i]);
        at = run[i].end;
    }
    discard(at, (uint32_t)((region_used + PAGE - 1) / PAGE));
}

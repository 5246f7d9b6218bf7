// SPDX-License-Identifier: BSD-2-Clause
/* libelf for segments and symbols, libdw for one question: which addresses have a compilation unit. The libraries of a
 * static bulkhead-domain come without debug information, so what has it is our own code. The file is our own build's.
 */
#include "servers/inject/image.h"

#include <elf.h>
#include <elfutils/libdw.h>
#include <errno.h>
#include <fcntl.h>
#include <gelf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static int file_map(pid_t pid, struct image *image, int *ret_fd)
{
    char path[48];
    struct stat st;
    snprintf(path, sizeof path, "/proc/%d/exe", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0)
        return -errno;
    void *bytes = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (bytes == MAP_FAILED)
        return -errno;
    image->file = bytes;
    image->file_octets = (size_t)st.st_size;
    *ret_fd = fd;
    return 0;
}

static int segments_read(Elf *elf, struct image *image)
{
    size_t count = 0;
    if (elf_getphdrnum(elf, &count) != 0)
        return -ENOEXEC;
    for (size_t i = 0; i < count; i++) {
        GElf_Phdr at;
        if (gelf_getphdr(elf, (int)i, &at) == NULL || at.p_type != PT_LOAD || (at.p_flags & PF_W) != 0)
            continue;
        if (at.p_offset > image->file_octets || at.p_filesz > image->file_octets - at.p_offset ||
            image->segments == IMAGE_SEGMENTS)
            return -ENOEXEC;
        image->segment[image->segments++] = (struct image_segment){
            .address = at.p_vaddr,
            .octets = at.p_filesz,
            .bytes = image->file + at.p_offset,
            .executable = (at.p_flags & PF_X) != 0,
        };
    }
    return image->segments > 0 ? 0 : -ENOEXEC;
}

/* The kernel tells the process where it put the program headers. */
static int bias_read(pid_t pid, Elf *elf, struct image *image)
{
    char path[48];
    uint64_t pair[2];
    GElf_Ehdr header;
    snprintf(path, sizeof path, "/proc/%d/auxv", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || gelf_getehdr(elf, &header) == NULL)
        return -errno;
    int result = -ENOEXEC;
    while (result != 0 && read(fd, pair, sizeof pair) == (ssize_t)sizeof pair && pair[0] != AT_NULL) {
        if (pair[0] != AT_PHDR)
            continue;
        for (uint32_t i = 0; i < image->segments && result != 0; i++) {
            uint64_t offset = (uint64_t)(image->segment[i].bytes - image->file);
            if (header.e_phoff < offset || header.e_phoff - offset >= image->segment[i].octets)
                continue;
            image->bias = pair[1] - (image->segment[i].address + header.e_phoff - offset);
            result = 0;
        }
    }
    close(fd);
    return result;
}

static int function_compare(const void *a, const void *b)
{
    const struct image_function *f = a, *g = b;
    return f->address < g->address ? -1 : f->address > g->address ? 1 : 0;
}

static bool is_executable(const struct image *image, uint64_t address, uint64_t octets)
{
    for (uint32_t i = 0; i < image->segments; i++) {
        const struct image_segment *s = &image->segment[i];
        if (s->executable && address >= s->address && octets <= s->octets && address - s->address <= s->octets - octets)
            return true;
    }
    return false;
}

static void symbols_read(Elf *elf, Elf_Scn *section, const GElf_Shdr *header, struct image *image)
{
    Elf_Data *data = elf_getdata(section, NULL);
    size_t count = header->sh_entsize == 0 ? 0 : header->sh_size / header->sh_entsize;
    image->function = data == NULL ? NULL : calloc(count + 1, sizeof *image->function);
    for (size_t i = 0; i < count && image->function != NULL; i++) {
        GElf_Sym symbol;
        if (gelf_getsym(data, (int)i, &symbol) == NULL || GELF_ST_TYPE(symbol.st_info) != STT_FUNC ||
            symbol.st_size == 0 || !is_executable(image, symbol.st_value, symbol.st_size))
            continue;
        const char *name = elf_strptr(elf, header->sh_link, symbol.st_name);
        image->function[image->functions++] = (struct image_function){
            .address = symbol.st_value, .octets = symbol.st_size, .name = name != NULL ? name : "?"};
    }
}

static void functions_sort(struct image *image)
{
    uint32_t kept = 0;
    qsort(image->function, image->functions, sizeof *image->function, function_compare);
    for (uint32_t i = 0; i < image->functions; i++) /* aliases, and what lies within another */
        if (kept == 0 ||
            image->function[i].address >= image->function[kept - 1].address + image->function[kept - 1].octets)
            image->function[kept++] = image->function[i];
    image->functions = kept;
}

static int sections_read(Elf *elf, struct image *image)
{
    size_t names = 0;
    if (elf_getshdrstrndx(elf, &names) != 0)
        return -ENOEXEC;
    for (Elf_Scn *section = NULL; (section = elf_nextscn(elf, section)) != NULL;) {
        GElf_Shdr header;
        if (gelf_getshdr(section, &header) == NULL)
            return -ENOEXEC;
        const char *name = elf_strptr(elf, names, header.sh_name);
        if (header.sh_type == SHT_SYMTAB && image->function == NULL)
            symbols_read(elf, section, &header, image);
        if (name != NULL && strcmp(name, ".eh_frame") == 0) {
            image->unwind = header.sh_addr;
            image->unwind_octets = header.sh_size;
        }
    }
    if (image->functions == 0)
        return -ENOEXEC;
    functions_sort(image);
    return 0;
}

/* The first function at or behind an address. */
static uint32_t function_from(const struct image *image, uint64_t address)
{
    uint32_t low = 0, high = image->functions;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (image->function[middle].address < address)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void own_mark(struct image *image, uint64_t start, uint64_t end)
{
    for (uint32_t i = function_from(image, start); i < image->functions && image->function[i].address < end; i++) {
        image->own_octets += image->function[i].own ? 0 : image->function[i].octets;
        image->function[i].own = true;
    }
}

static int units_read(int fd, struct image *image)
{
    Dwarf *dwarf = dwarf_begin(fd, DWARF_C_READ);
    Dwarf_Off offset = 0, next;
    size_t header;
    if (dwarf == NULL)
        return -ENODATA;
    for (; dwarf_nextcu(dwarf, offset, &next, &header, NULL, NULL, NULL) == 0; offset = next) {
        Dwarf_Die unit;
        Dwarf_Addr base, start, end;
        if (dwarf_offdie(dwarf, offset + header, &unit) == NULL)
            continue;
        for (ptrdiff_t at = 0; (at = dwarf_ranges(&unit, at, &base, &start, &end)) > 0;)
            own_mark(image, start, end);
    }
    dwarf_end(dwarf);
    return image->own_octets > 0 ? 0 : -ENODATA;
}

int image_open(pid_t pid, bool own, struct image *ret, char ret_error[IMAGE_ERROR])
{
    int fd = -1;
    *ret = (struct image){0};
    const char *step = "read its program";
    int result = elf_version(EV_CURRENT) == EV_NONE ? -ENOEXEC : file_map(pid, ret, &fd);
    Elf *elf = result < 0 ? NULL : elf_begin(fd, ELF_C_READ, NULL); /* its names are kept: never ended */
    if (result == 0)
        result = elf == NULL ? -ENOEXEC : segments_read(elf, ret);
    if (result == 0)
        result = bias_read(pid, elf, ret);
    if (result == 0) {
        step = "find its functions (a stripped program?)";
        result = sections_read(elf, ret);
    }
    if (result == 0 && own) {
        step = "tell our own code from that of libraries (built without debug information?)";
        result = units_read(fd, ret);
    }
    if (result < 0)
        snprintf(ret_error, IMAGE_ERROR, "cannot %s: %s", step, strerror(-result));
    return result;
}

const uint8_t *image_bytes(const struct image *image, uint64_t address, uint64_t octets)
{
    for (uint32_t i = 0; i < image->segments; i++) {
        const struct image_segment *s = &image->segment[i];
        if (address >= s->address && octets <= s->octets && address - s->address <= s->octets - octets)
            return s->bytes + (address - s->address);
    }
    return NULL;
}

const struct image_function *image_function(const struct image *image, uint64_t address)
{
    uint32_t i = function_from(image, address + 1);
    const struct image_function *f = i == 0 ? NULL : &image->function[i - 1];
    return f != NULL && address - f->address < f->octets ? f : NULL;
}

void image_name(const struct image *image, uint64_t address, char *ret, size_t size)
{
    const struct image_function *f = image_function(image, address);
    if (f != NULL)
        snprintf(ret, size, "%.60s+0x%lx", f->name, address - f->address);
    else
        snprintf(ret, size, "?");
}

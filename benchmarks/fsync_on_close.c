/* Loaded before dcmtk's storescp: what it writes is on disk when it closes the file, as our receiver promises. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <unistd.h>

int fclose(FILE *stream)
{
    static int (*real)(FILE *);
    if (!real)
        real = (int (*)(FILE *))dlsym(RTLD_NEXT, "fclose");
    fflush(stream);
    fsync(fileno(stream));
    return real(stream);
}

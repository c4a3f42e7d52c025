/* A stand-in for NVIDIA's libnvidia-ml.so.1, written for these tests.
 *
 * It reads the file `state` next to itself at each call, so that a test changes what the driver says while it
 * is open. Lines of the file:
 *
 *   init RC
 *   gpu RC UUID TOTAL USED MAJOR MINOR UTIL TEMP MILLIWATT MIG NAME
 *   xid SEQUENCE GPU NUMBER
 *
 * A fault with a sequence above that of the last one is told once to each set of events of its GPU that exists.
 * RC is an nvmlReturn_t; a value of -1 in a line means that this GPU does not support that call. With MIG
 * 1 the GPU has one instance, numbered 1, with a tenth of its memory. -DOLD_DRIVER leaves out what drivers before
 * 510 lack, -DNOT_NVML everything.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int fake_library(void) { return 1; }

#ifndef NOT_NVML

enum { SUCCESS = 0, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6 };
enum { MAX_GPUS = 16 };

typedef struct {
    int rc;
    char uuid[80];
    long long total, used;
    int major, minor, util, temp, milliwatt, mig;
    char name[80];
} gpu_t;

typedef struct { int init, count; unsigned sequence, faulty; unsigned long long xid; gpu_t gpus[MAX_GPUS]; } state_t;

/* A handle is an index plus one; an instance's has this bit, too. */
#define INSTANCE 0x100

static state_t state(void) {
    state_t s = {0};
    Dl_info self;
    char path[4096], line[512];
    dladdr((void *)fake_library, &self);
    const char *slash = strrchr(self.dli_fname, '/');
    snprintf(path, sizeof path, "%.*s/state", (int)(slash - self.dli_fname), self.dli_fname);
    FILE *file = fopen(path, "r");
    if (!file) { s.init = 999; return s; }
    while (s.count < MAX_GPUS && fgets(line, sizeof line, file)) {
        gpu_t *g = &s.gpus[s.count];
        if (sscanf(line, "init %d", &s.init) == 1) continue;
        if (sscanf(line, "xid %u %u %llu", &s.sequence, &s.faulty, &s.xid) == 3) continue;
        if (sscanf(line, "gpu %d %79s %lld %lld %d %d %d %d %d %d %79[^\n]", &g->rc, g->uuid, &g->total, &g->used,
                   &g->major, &g->minor, &g->util, &g->temp, &g->milliwatt, &g->mig, g->name) == 11) s.count++;
    }
    fclose(file);
    return s;
}

static int find(void *device, gpu_t *gpu) {
    state_t s = state();
    int index = (int)((size_t)device & 0xff) - 1;
    if (index < 0 || index >= s.count) return INVALID_ARGUMENT;
    *gpu = s.gpus[index];
    return gpu->rc;
}

static int number(int value, unsigned *out) {
    if (value < 0) return NOT_SUPPORTED;
    *out = (unsigned)value;
    return SUCCESS;
}

int nvmlInit_v2(void) { return state().init; }
int nvmlShutdown(void) { return SUCCESS; }

int nvmlSystemGetDriverVersion(char *out, unsigned length) {
    snprintf(out, length, "580.99.01");
    return SUCCESS;
}

int nvmlDeviceGetCount_v2(unsigned *count) {
    state_t s = state();
    *count = (unsigned)s.count;
    return s.init;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device) {
    gpu_t g;
    *device = (void *)(size_t)(index + 1);
    return find(*device, &g);
}

int nvmlDeviceGetName(void *device, char *out, unsigned length) {
    gpu_t g;
    int rc = find(device, &g);
    if (rc == SUCCESS) snprintf(out, length, "%s", g.name);
    return rc;
}

int nvmlDeviceGetUUID(void *device, char *out, unsigned length) {
    gpu_t g;
    int rc = find(device, &g);
    if (rc != SUCCESS) return rc;
    if (!strcmp(g.uuid, "-1")) return NOT_SUPPORTED;
    if ((size_t)device & INSTANCE) snprintf(out, length, "MIG-of-%s", g.uuid);
    else snprintf(out, length, "%s", g.uuid);
    return SUCCESS;
}

#ifndef OLD_DRIVER
typedef struct { unsigned version; unsigned long long total, reserved, free, used; } memory_t;

int nvmlDeviceGetMemoryInfo_v2(void *device, memory_t *out) {
    gpu_t g;
    int rc = find(device, &g);
    if (rc != SUCCESS) return rc;
    if (out->version != (sizeof(memory_t) | 2u << 24)) return INVALID_ARGUMENT;
    long long part = (size_t)device & INSTANCE ? 10 : 1;
    out->total = (unsigned long long)(g.total / part);
    out->used = (unsigned long long)(g.used / part);
    out->reserved = 0;
    out->free = out->total - out->used;
    return SUCCESS;
}
#endif

int nvmlDeviceGetCudaComputeCapability(void *device, int *major, int *minor) {
    gpu_t g;
    int rc = find(device, &g);
    if (rc != SUCCESS) return rc;
    if (g.major < 0) return NOT_SUPPORTED;
    *major = g.major;
    *minor = g.minor;
    return SUCCESS;
}

int nvmlDeviceGetUtilizationRates(void *device, unsigned *rates) {
    gpu_t g;
    int rc = find(device, &g);
    rates[1] = 0;
    return rc == SUCCESS ? number(g.util, &rates[0]) : rc;
}

int nvmlDeviceGetTemperature(void *device, unsigned sensor, unsigned *out) {
    gpu_t g;
    (void)sensor;
    int rc = find(device, &g);
    return rc == SUCCESS ? number(g.temp, out) : rc;
}

int nvmlDeviceGetPowerUsage(void *device, unsigned *out) {
    gpu_t g;
    int rc = find(device, &g);
    return rc == SUCCESS ? number(g.milliwatt, out) : rc;
}

int nvmlDeviceGetMigMode(void *device, unsigned *current, unsigned *pending) {
    gpu_t g;
    int rc = find(device, &g);
    if (rc != SUCCESS) return rc;
    *pending = g.mig > 0;
    return number(g.mig, current);
}

int nvmlDeviceGetMaxMigDeviceCount(void *device, unsigned *count) {
    (void)device;
    *count = 7;
    return SUCCESS;
}

int nvmlDeviceGetMigDeviceHandleByIndex(void *device, unsigned index, void **instance) {
    gpu_t g;
    int rc = find(device, &g);
    if (rc != SUCCESS) return rc;
    if (index != 1 || g.mig <= 0) return NOT_FOUND;
    *instance = (void *)((size_t)device | INSTANCE);
    return SUCCESS;
}

/* A set holds one GPU, and the sequence of the last fault that it told. */
typedef struct { void *device; unsigned told; } set_t;
typedef struct {
    void *device;
    unsigned long long type, data;
    unsigned gpu_instance, compute_instance;
} event_t;

enum { TIMEOUT = 10, XID_CRITICAL = 8 };

int nvmlEventSetCreate(void **set) {
    *set = calloc(1, sizeof(set_t));
    return SUCCESS;
}

int nvmlEventSetFree(void *set) {
    free(set);
    return SUCCESS;
}

int nvmlDeviceRegisterEvents(void *device, unsigned long long types, void *set) {
    if (types != XID_CRITICAL) return NOT_SUPPORTED;
    ((set_t *)set)->device = device;
    ((set_t *)set)->told = state().sequence;
    return SUCCESS;
}

int nvmlEventSetWait_v2(void *of, event_t *event, unsigned timeout_ms) {
    set_t *set = of;
    state_t s = state();
    (void)timeout_ms;
    if (s.sequence <= set->told || s.faulty + 1 != (size_t)set->device) return TIMEOUT;
    set->told = s.sequence;
    *event = (event_t){ .device = set->device, .type = XID_CRITICAL, .data = s.xid };
    return SUCCESS;
}

#endif

/* Stands in for libnvidia-ml.so.1: one GPU whose behaviour FAKE_NVML names. Time starts at nvmlInit. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { OK = 0, UNSUPPORTED = 3, NO_PERMISSION = 4, NOT_FOUND = 6, NOT_LOADED = 9, LOST = 15 };
#define POWER_INSTANT 186
#define WATTS 300.0

typedef struct {
    unsigned field, scope;
    long long timestamp, latency;
    int type, result;
    union { unsigned ui; unsigned long long ull; double d; } value;
} field_value;

static double began = -1.0;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}
static int is(const char *mode) { const char *m = getenv("FAKE_NVML"); return m && !strcmp(m, mode); }
static int gone(void) { return is("lost") && now() - began > 0.6; }
/* ramp: 100 W at the start, 100 W more every second */
static double watts(double t) { return is("ramp") ? 100.0 + 100.0 * t : WATTS; }
static double joules(double t) { return is("ramp") ? 100.0 * t + 50.0 * t * t : WATTS * t; }

int nvmlInitWithFlags(unsigned flags) {
    (void)flags;
    if (is("no driver")) return NOT_LOADED;
    if (is("no permission")) return NO_PERMISSION;
    if (began < 0) began = now();
    return OK;
}
int nvmlShutdown(void) { return OK; }
const char *nvmlErrorString(int code) { (void)code; return "error"; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = 1; return OK; }
int nvmlDeviceGetHandleByIndex_v2(unsigned i, void **h) { *h = &began; return i ? NOT_FOUND : OK; }
int nvmlDeviceGetHandleByUUID(const char *u, void **h) { *h = &began; return strcmp(u, "GPU-1") ? NOT_FOUND : OK; }
int nvmlDeviceGetMigMode(void *h, unsigned *current, unsigned *pending) {
    (void)h;
    *current = *pending = is("divided");
    return is("old driver") ? UNSUPPORTED : OK;
}
int nvmlDeviceGetName(void *h, char *name, unsigned n) { (void)h; strncpy(name, "NVIDIA Fake", n); return OK; }
int nvmlSystemGetDriverVersion(char *v, unsigned n) { strncpy(v, "570.1", n); return OK; }
int nvmlDeviceGetEnforcedPowerLimit(void *h, unsigned *mw) { (void)h; *mw = 700000; return OK; }
int nvmlDeviceGetMaxClockInfo(void *h, int type, unsigned *mhz) { (void)h; (void)type; *mhz = 1980; return OK; }
int nvmlDeviceGetClockInfo(void *h, int type, unsigned *mhz) {
    (void)h; (void)type;
    *mhz = 1500;
    return gone() ? LOST : OK;
}
int nvmlDeviceGetTemperature(void *h, int sensor, unsigned *c) { (void)h; (void)sensor; *c = 61; return gone() ? LOST : OK; }
int nvmlDeviceGetCurrentClocksEventReasons(void *h, unsigned long long *mask) {
    (void)h;
    *mask = 0x1 | 0x4; /* idle, software power cap */
    return gone() ? LOST : OK;
}
int nvmlDeviceGetTotalEnergyConsumption(void *h, unsigned long long *mj) {
    (void)h;
    if (gone()) return LOST;
    if (is("no counter") || is("no meters")) return UNSUPPORTED;
    if (is("unreadable counter")) return NO_PERMISSION;
    double t = now() - began;
    t = (long)(t * 10.0) / 10.0; /* steps every 100 ms, as the real one does */
    *mj = 1000000ULL + (is("stuck counter") ? 0 : (unsigned long long)(1e3 * joules(t)));
    return OK;
}
int nvmlDeviceGetPowerUsage(void *h, unsigned *mw) {
    (void)h;
    *mw = (unsigned)(1e3 * WATTS);
    return gone() ? LOST : is("no meters") ? UNSUPPORTED : OK;
}
int nvmlDeviceGetFieldValues(void *h, int count, field_value *values) {
    (void)h;
    if (gone()) return LOST;
    for (int i = 0; i < count; i++) {
        int known = values[i].field == POWER_INSTANT && !is("old driver") && !is("no meters");
        double w = watts(now() - began) * (is("meters apart") ? 0.8 : 1.0);
        values[i].result = known ? OK : UNSUPPORTED;
        values[i].value.ui = (unsigned)(1e3 * w);
    }
    return OK;
}

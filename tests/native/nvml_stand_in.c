/* A management library that answers as NVIDIA's does (nvml.h of CUDA 13), so that the real bindings can be driven
 * without a GPU. What it plays is chosen by $NVML_STAND_IN: "sound", "mismatch", "crash", "hang". */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef int nvmlReturn_t;
typedef void *nvmlDevice_t;
typedef struct { char busIdLegacy[16]; unsigned domain, bus, device, pciDeviceId, pciSubSystemId; char busId[32]; } nvmlPciInfo_t;
typedef struct { unsigned long long total, free, used; } nvmlMemory_t;
typedef struct { unsigned pid; unsigned long long usedGpuMemory; unsigned gpuInstanceId, computeInstanceId; } nvmlProcessInfo_t;
enum { SUCCESS = 0, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7, GPU_IS_LOST = 15, LIB_RM_VERSION_MISMATCH = 18 };

static int plays(const char *part) { const char *now = getenv("NVML_STAND_IN"); return now && !strcmp(now, part); }
static long number(nvmlDevice_t device) { return (long)device - 1; }

nvmlReturn_t nvmlInitWithFlags(unsigned flags) {
    if (plays("crash")) raise(SIGSEGV);
    if (plays("hang")) pause();
    return plays("mismatch") ? LIB_RM_VERSION_MISMATCH : SUCCESS;
}
nvmlReturn_t nvmlInit_v2(void) { return nvmlInitWithFlags(0); }
const char *nvmlErrorString(nvmlReturn_t code) {
    return code == LIB_RM_VERSION_MISMATCH ? "Driver/library version mismatch" : code == GPU_IS_LOST ? "GPU is lost" : "Not Supported";
}
nvmlReturn_t nvmlSystemGetDriverVersion(char *text, unsigned size) { strncpy(text, "580.95.05", size); return SUCCESS; }
nvmlReturn_t nvmlSystemGetCudaDriverVersion_v2(int *version) { *version = 13000; return SUCCESS; }
nvmlReturn_t nvmlDeviceGetCount_v2(unsigned *count) { *count = 3; return SUCCESS; }
nvmlReturn_t nvmlDeviceGetHandleByIndex_v2(unsigned index, nvmlDevice_t *device) {
    *device = (nvmlDevice_t)(long)(index + 1);
    return index == 2 ? GPU_IS_LOST : SUCCESS;
}
nvmlReturn_t nvmlDeviceGetName(nvmlDevice_t device, char *name, unsigned size) {
    strncpy(name, number(device) == 9 ? "NVIDIA A100-SXM4-80GB MIG 3g.40gb" : number(device) ? "NVIDIA A100-SXM4-80GB" : "NVIDIA GeForce RTX 4090", size);
    return SUCCESS;
}
nvmlReturn_t nvmlDeviceGetPciInfo_v3(nvmlDevice_t device, nvmlPciInfo_t *info) {
    memset(info, 0, sizeof *info);
    info->pciDeviceId = number(device) ? 0x20b210de : 0x268410de;
    return SUCCESS;
}
nvmlReturn_t nvmlDeviceGetMemoryInfo(nvmlDevice_t device, nvmlMemory_t *memory) {
    memory->total = (unsigned long long)(number(device) == 9 ? 40 : number(device) ? 80 : 24) << 30;
    memory->free = memory->used = 0;
    return SUCCESS;
}
nvmlReturn_t nvmlDeviceGetCudaComputeCapability(nvmlDevice_t device, int *major, int *minor) {
    *major = 8; *minor = number(device) ? 0 : 9;
    return SUCCESS;
}
nvmlReturn_t nvmlDeviceGetMigMode(nvmlDevice_t device, unsigned *now, unsigned *pending) {
    if (!number(device)) return NOT_SUPPORTED;
    *now = *pending = 1;
    return SUCCESS;
}
nvmlReturn_t nvmlDeviceGetMaxMigDeviceCount(nvmlDevice_t device, unsigned *count) { *count = 7; return SUCCESS; }
nvmlReturn_t nvmlDeviceGetMigDeviceHandleByIndex(nvmlDevice_t device, unsigned index, nvmlDevice_t *part) {
    *part = (nvmlDevice_t)10L;
    return index ? NOT_FOUND : SUCCESS;
}
nvmlReturn_t nvmlDeviceGetVirtualizationMode(nvmlDevice_t device, int *mode) { *mode = 0; return SUCCESS; }
nvmlReturn_t nvmlDeviceGetComputeRunningProcesses_v3(nvmlDevice_t device, unsigned *count, nvmlProcessInfo_t *infos) {
    if (number(device)) { *count = 0; return SUCCESS; }
    if (*count < 1) { *count = 1; return INSUFFICIENT_SIZE; }
    *count = 1;
    memset(infos, 0, sizeof *infos);
    infos->pid = (unsigned)getpid();
    infos->usedGpuMemory = 3ULL << 30;
    return SUCCESS;
}
nvmlReturn_t nvmlDeviceGetGraphicsRunningProcesses_v3(nvmlDevice_t device, unsigned *count, nvmlProcessInfo_t *infos) { *count = 0; return SUCCESS; }
nvmlReturn_t nvmlSystemGetProcessName(unsigned pid, char *name, unsigned size) { strncpy(name, "/home/someone/bin/train.py --secret", size); return SUCCESS; }
nvmlReturn_t nvmlShutdown(void) { return SUCCESS; }

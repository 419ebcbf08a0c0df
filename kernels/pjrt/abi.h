/*
 * abi.h - the part of the PJRT C API that is used here, declared from its published layout (openxla/xla,
 * xla/pjrt/c/pjrt_c_api.h, 0.54 to 0.104): a table of functions, each taking one struct.
 *
 * The table:  struct_size 8, extensions 8, version 24, then function i at byte 40 + 8 i. Functions are
 * only ever added at the end.
 *
 * A struct begins with its own size and an extension pointer; fields are only ever added at its end. A
 * plugin refuses a size below the one it was built with and takes any above. So each struct ends in 64
 * reserved bytes of zeros here: a field added later means "absent" when zero, an output added later
 * lands in the reserve. EXACT_* are the sizes without it, for a plugin that wants equality.
 */
#ifndef VKERN_PJRT_ABI_H
#define VKERN_PJRT_ABI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum pjrt_code {
    PJRT_OK,
    PJRT_CANCELLED,
    PJRT_UNKNOWN,
    PJRT_INVALID_ARGUMENT,
    PJRT_DEADLINE_EXCEEDED,
    PJRT_NOT_FOUND,
    PJRT_ALREADY_EXISTS,
    PJRT_PERMISSION_DENIED,
    PJRT_RESOURCE_EXHAUSTED,
    PJRT_FAILED_PRECONDITION,
    PJRT_ABORTED,
    PJRT_OUT_OF_RANGE,
    PJRT_UNIMPLEMENTED,
    PJRT_INTERNAL,
    PJRT_UNAVAILABLE,
    PJRT_DATA_LOSS,
    PJRT_UNAUTHENTICATED
};

enum pjrt_buffer_type { PJRT_S32 = 4, PJRT_F32 = 11, PJRT_BF16 = 13 };
/* Host data: copied before the call returns; or left alone until the transfer is done. */
enum pjrt_semantics { PJRT_DURING_CALL = 0, PJRT_UNTIL_DONE = 1 };
enum pjrt_value_type { PJRT_STRING, PJRT_INT64, PJRT_INT64_LIST, PJRT_FLOAT, PJRT_BOOL };
enum pjrt_layout_type { PJRT_TILED, PJRT_STRIDES };

typedef struct PJRT_Error PJRT_Error;
typedef struct PJRT_Event PJRT_Event;
typedef struct PJRT_Client PJRT_Client;
typedef struct PJRT_Device PJRT_Device;
typedef struct PJRT_DeviceDescription PJRT_DeviceDescription;
typedef struct PJRT_Memory PJRT_Memory;
typedef struct PJRT_Buffer PJRT_Buffer;
typedef struct PJRT_Executable PJRT_Executable;
typedef struct PJRT_LoadedExecutable PJRT_LoadedExecutable;

#define PJRT_HEAD                                                                                  \
    size_t struct_size;                                                                            \
    void *extension_start
#define PJRT_RESERVE uint64_t reserved[8]

/* A struct's size where it ends with `last`, as plugins compute it. */
#define PJRT_EXACT(type, last) (offsetof(type, last) + sizeof(((type *)0)->last))

/* ---- arguments ----------------------------------------------------------------------------- */

typedef struct {
    PJRT_HEAD;
    PJRT_Error *error;
    PJRT_RESERVE;
} pjrt_error_destroy;

typedef struct {
    PJRT_HEAD;
    const PJRT_Error *error;
    const char *message; /* out: the error's, no NUL */
    size_t message_size; /* out */
    PJRT_RESERVE;
} pjrt_error_message;

typedef struct {
    PJRT_HEAD;
    const PJRT_Error *error;
    int code; /* out */
    PJRT_RESERVE;
} pjrt_error_get_code;

typedef struct {
    PJRT_HEAD;
    PJRT_RESERVE;
} pjrt_plugin_initialize;

/* An element of arrays, whose stride is the plugin's own size: no reserve. */
typedef struct {
    PJRT_HEAD;
    const char *name;
    size_t name_size;
    int type;
    union {
        const char *string;
        int64_t int64;
        const int64_t *list;
        float real;
        bool boolean;
    } value;
    size_t value_size;
} pjrt_named_value;

typedef struct {
    PJRT_HEAD;
    const pjrt_named_value *attributes; /* out: live as long as the process */
    size_t n_attributes;                /* out */
    PJRT_RESERVE;
} pjrt_plugin_attributes;

typedef struct {
    PJRT_HEAD;
    PJRT_Event *event;
    PJRT_RESERVE;
} pjrt_event_args; /* Destroy, Error, Await */

typedef struct {
    PJRT_HEAD;
    PJRT_Event *event;
    bool is_ready; /* out */
    PJRT_RESERVE;
} pjrt_event_is_ready;

typedef struct {
    PJRT_HEAD;
    const pjrt_named_value *options;
    size_t n_options;
    void *kv_get, *kv_get_context, *kv_put, *kv_put_context; /* of several processes: NULL */
    PJRT_Client *client;                                     /* out */
    void *kv_try_get, *kv_try_get_context;
    PJRT_RESERVE;
} pjrt_client_create;

typedef struct {
    PJRT_HEAD;
    PJRT_Client *client;
    PJRT_RESERVE;
} pjrt_client_destroy;

typedef struct {
    PJRT_HEAD;
    PJRT_Client *client;
    const char *text; /* out: the client's, no NUL */
    size_t text_size; /* out */
    PJRT_RESERVE;
} pjrt_client_text; /* PlatformName, PlatformVersion */

typedef struct {
    PJRT_HEAD;
    PJRT_Client *client;
    PJRT_Device *const *devices; /* out */
    size_t n_devices;            /* out */
    PJRT_RESERVE;
} pjrt_client_devices;

typedef struct {
    PJRT_HEAD;
    const char *code;
    size_t code_size;
    const char *format;
    size_t format_size;
    PJRT_RESERVE;
} pjrt_program;

typedef struct {
    PJRT_HEAD;
    PJRT_Client *client;
    const pjrt_program *program;
    const char *options; /* CompileOptionsProto */
    size_t options_size;
    PJRT_LoadedExecutable *executable; /* out */
    PJRT_RESERVE;
} pjrt_client_compile;

/* Lies in a union inside the next: no reserve. */
typedef struct {
    PJRT_HEAD;
    const int64_t *minor_to_major;
    size_t n_minor_to_major;
    const int64_t *tile_dims;
    const size_t *tile_dim_sizes;
    size_t n_tiles;
} pjrt_tiled_layout;

typedef struct {
    PJRT_HEAD;
    pjrt_tiled_layout tiled; /* of the union, the larger */
    int type;
    PJRT_RESERVE;
} pjrt_layout;

typedef struct {
    PJRT_HEAD;
    PJRT_Client *client;
    const void *data;
    int type;
    const int64_t *dims;
    size_t n_dims;
    const int64_t *byte_strides; /* NULL: dense, row-major */
    size_t n_byte_strides;
    int semantics;
    PJRT_Device *device;
    PJRT_Memory *memory;               /* NULL: the device's default */
    const pjrt_layout *layout;         /* on the device; NULL: the plugin's choice */
    PJRT_Event *done_with_host_buffer; /* out */
    PJRT_Buffer *buffer;               /* out */
    PJRT_RESERVE;
} pjrt_buffer_from_host;

typedef struct {
    PJRT_HEAD;
    PJRT_Buffer *source;
    const pjrt_layout *host_layout;
    void *destination;
    size_t destination_size;
    PJRT_Event *event; /* out */
    PJRT_RESERVE;
} pjrt_buffer_to_host;

typedef struct {
    PJRT_HEAD;
    PJRT_Buffer *buffer;
    PJRT_RESERVE;
} pjrt_buffer_destroy;

typedef struct {
    PJRT_HEAD;
    PJRT_Buffer *buffer;
    PJRT_Event *event; /* out */
    PJRT_RESERVE;
} pjrt_buffer_ready;

typedef struct {
    PJRT_HEAD;
    PJRT_Buffer *buffer;
    size_t size_bytes; /* out */
    PJRT_RESERVE;
} pjrt_buffer_size;

typedef struct {
    PJRT_HEAD;
    PJRT_Buffer *buffer;
    int type; /* out */
    PJRT_RESERVE;
} pjrt_buffer_type_args;

typedef struct {
    PJRT_HEAD;
    PJRT_Buffer *buffer;
    const int64_t *dims; /* out */
    size_t n_dims;       /* out */
    PJRT_RESERVE;
} pjrt_buffer_dims;

typedef struct {
    PJRT_HEAD;
    void *send_callbacks, *recv_callbacks;
    size_t n_send_ops, n_recv_ops;
    int launch_id;
    const int64_t *non_donatable;
    size_t n_non_donatable;
    void *context;
    const char *call_location;
    size_t n_tasks;
    int *task_ids;
    int64_t *incarnation_ids;
    void *multi_slice_config;
    PJRT_RESERVE;
} pjrt_execute_options; /* all zero */

typedef struct {
    PJRT_HEAD;
    PJRT_LoadedExecutable *executable;
    pjrt_execute_options *options;
    PJRT_Buffer *const *const *argument_lists; /* [n_devices][n_arguments] */
    size_t n_devices;
    size_t n_arguments;
    PJRT_Buffer **const *output_lists; /* [n_devices][outputs], filled in */
    PJRT_Event **complete_events;      /* [n_devices], filled in */
    PJRT_Device *execute_device;       /* NULL: where it was compiled for */
    PJRT_RESERVE;
} pjrt_execute;

typedef struct {
    PJRT_HEAD;
    PJRT_LoadedExecutable *executable;
    PJRT_RESERVE;
} pjrt_loaded_destroy;

typedef struct {
    PJRT_HEAD;
    PJRT_LoadedExecutable *loaded;
    PJRT_Executable *executable; /* out: a new object */
    PJRT_RESERVE;
} pjrt_loaded_get;

typedef struct {
    PJRT_HEAD;
    PJRT_Executable *executable;
    PJRT_RESERVE;
} pjrt_executable_destroy;

typedef struct {
    PJRT_HEAD;
    PJRT_Executable *executable;
    size_t n_outputs; /* out */
    PJRT_RESERVE;
} pjrt_executable_outputs;

typedef struct {
    PJRT_HEAD;
    PJRT_Executable *executable;
    int64_t generated_code, argument, output, alias, temp; /* out, bytes */
    int64_t host[5];
    int64_t peak_memory, total_size, total_allocation, indefinite, peak_unpadded_heap;
    PJRT_RESERVE;
} pjrt_executable_memory;

typedef struct {
    PJRT_HEAD;
    PJRT_Device *device;
    PJRT_DeviceDescription *description; /* out */
    PJRT_RESERVE;
} pjrt_device_description;

typedef struct {
    PJRT_HEAD;
    PJRT_DeviceDescription *description;
    int id; /* out */
    PJRT_RESERVE;
} pjrt_description_id;

typedef struct {
    PJRT_HEAD;
    PJRT_DeviceDescription *description;
    const char *text; /* out: no NUL */
    size_t text_size; /* out */
    PJRT_RESERVE;
} pjrt_description_kind;

typedef struct {
    PJRT_HEAD;
    PJRT_Device *device;
    int id; /* out */
    PJRT_RESERVE;
} pjrt_device_hardware_id;

struct pjrt_maybe {
    int64_t value;
    bool is_set;
};

typedef struct {
    PJRT_HEAD;
    PJRT_Device *device;
    int64_t bytes_in_use; /* out, as are all that follow */
    struct pjrt_maybe peak_bytes_in_use, n_allocs, largest_alloc, bytes_limit, bytes_reserved;
    struct pjrt_maybe peak_bytes_reserved, bytes_reservable, largest_free_block, pool_bytes;
    struct pjrt_maybe peak_pool_bytes;
    PJRT_RESERVE;
} pjrt_device_memory;

/* ---- the table ----------------------------------------------------------------------------- */

typedef PJRT_Error *pjrt_fn(void *arguments);
typedef void pjrt_void_fn(void *arguments);

typedef struct {
    PJRT_HEAD;
    int major;
    int minor;
} pjrt_api_version;

/* Functions by their number in the table; those between are not used. */
enum pjrt_function {
    PJRT_ERROR_DESTROY = 0,
    PJRT_ERROR_MESSAGE = 1,
    PJRT_ERROR_GET_CODE = 2,
    PJRT_PLUGIN_INITIALIZE = 3,
    PJRT_PLUGIN_ATTRIBUTES = 4,
    PJRT_EVENT_DESTROY = 5,
    PJRT_EVENT_IS_READY = 6,
    PJRT_EVENT_ERROR = 7,
    PJRT_EVENT_AWAIT = 8,
    PJRT_EVENT_ON_READY = 9,
    PJRT_CLIENT_CREATE = 10,
    PJRT_CLIENT_DESTROY = 11,
    PJRT_CLIENT_PLATFORM_NAME = 12,
    PJRT_CLIENT_PLATFORM_VERSION = 14,
    PJRT_CLIENT_DEVICES = 15,
    PJRT_CLIENT_ADDRESSABLE_DEVICES = 16,
    PJRT_CLIENT_COMPILE = 20,
    PJRT_BUFFER_FROM_HOST = 22,
    PJRT_DESCRIPTION_ID = 23,
    PJRT_DESCRIPTION_KIND = 26,
    PJRT_DEVICE_GET_DESCRIPTION = 29,
    PJRT_DEVICE_HARDWARE_ID = 31,
    PJRT_DEVICE_MEMORY_STATS = 34,
    PJRT_EXECUTABLE_DESTROY = 40,
    PJRT_EXECUTABLE_OUTPUTS = 44,
    PJRT_LOADED_DESTROY = 50,
    PJRT_LOADED_GET = 51,
    PJRT_EXECUTE = 55,
    PJRT_BUFFER_DESTROY = 58,
    PJRT_BUFFER_TYPE = 59,
    PJRT_BUFFER_DIMS = 60,
    PJRT_BUFFER_SIZE = 64,
    PJRT_BUFFER_TO_HOST = 70,
    PJRT_BUFFER_READY = 72,
    PJRT_EXECUTABLE_MEMORY = 96,
    PJRT_N_FUNCTIONS = 135 /* of 0.104 */
};

typedef struct {
    size_t struct_size;
    void *extension_start;
    pjrt_api_version version;
    pjrt_fn *functions[PJRT_N_FUNCTIONS]; /* as many as struct_size says */
} pjrt_api;

#define PJRT_LEAST_MINOR 57
#define PJRT_LEAST_SIZE 624 /* up to BUFFER_READY */

/* ---- what the layout is known to be (x86-64 and arm64, LP64) ---------------------------------- */

#define PJRT_AT(type, field, offset)                                                               \
    _Static_assert(offsetof(type, field) == (offset), #type "." #field " lies elsewhere")
#define PJRT_ENDS(type, last, size)                                                                \
    _Static_assert(PJRT_EXACT(type, last) == (size), #type " has another size")

_Static_assert(sizeof(void *) == 8 && sizeof(int) == 4 && sizeof(bool) == 1, "LP64");
PJRT_AT(pjrt_api, version, 16);
PJRT_AT(pjrt_api, version.major, 32);
PJRT_AT(pjrt_api, version.minor, 36);
PJRT_AT(pjrt_api, functions, 40);
PJRT_AT(pjrt_api, functions[PJRT_CLIENT_CREATE], 120);
PJRT_AT(pjrt_api, functions[PJRT_BUFFER_FROM_HOST], 216);
PJRT_AT(pjrt_api, functions[PJRT_EXECUTE], 480);
PJRT_AT(pjrt_api, functions[PJRT_BUFFER_TO_HOST], 600);
PJRT_AT(pjrt_api, functions[PJRT_BUFFER_READY], PJRT_LEAST_SIZE - 8);
PJRT_AT(pjrt_api, functions[PJRT_EXECUTABLE_MEMORY], 808);
_Static_assert(sizeof(pjrt_api) == 1120, "0.104 has 135 functions");
PJRT_ENDS(pjrt_error_destroy, error, 24);
PJRT_ENDS(pjrt_error_message, message_size, 40);
PJRT_AT(pjrt_error_get_code, code, 24);
PJRT_AT(pjrt_plugin_initialize, reserved, 16);
PJRT_AT(pjrt_named_value, type, 32);
PJRT_AT(pjrt_named_value, value, 40);
_Static_assert(sizeof(pjrt_named_value) == 56, "an array element");
PJRT_ENDS(pjrt_plugin_attributes, n_attributes, 32);
PJRT_AT(pjrt_event_is_ready, is_ready, 24);
PJRT_AT(pjrt_client_create, client, 64);
PJRT_ENDS(pjrt_client_create, kv_try_get_context, 88);
PJRT_ENDS(pjrt_client_text, text_size, 40);
PJRT_ENDS(pjrt_client_devices, n_devices, 40);
PJRT_ENDS(pjrt_program, format_size, 48);
PJRT_ENDS(pjrt_client_compile, executable, 56);
_Static_assert(sizeof(pjrt_tiled_layout) == 56, "inside a union");
PJRT_AT(pjrt_layout, type, 72);
PJRT_AT(pjrt_buffer_from_host, type, 32);
PJRT_AT(pjrt_buffer_from_host, semantics, 72);
PJRT_AT(pjrt_buffer_from_host, device, 80);
PJRT_AT(pjrt_buffer_from_host, done_with_host_buffer, 104);
PJRT_ENDS(pjrt_buffer_from_host, buffer, 120);
PJRT_AT(pjrt_buffer_to_host, event, 48);
PJRT_ENDS(pjrt_buffer_ready, event, 32);
PJRT_ENDS(pjrt_buffer_size, size_bytes, 32);
PJRT_ENDS(pjrt_buffer_dims, n_dims, 40);
PJRT_AT(pjrt_execute_options, launch_id, 48);
PJRT_AT(pjrt_execute_options, non_donatable, 56);
PJRT_AT(pjrt_execute_options, context, 72);
PJRT_ENDS(pjrt_execute_options, multi_slice_config, 120);
PJRT_AT(pjrt_execute, output_lists, 56);
PJRT_AT(pjrt_execute, complete_events, 64);
PJRT_AT(pjrt_execute, execute_device, 72);
PJRT_ENDS(pjrt_loaded_get, executable, 32);
PJRT_ENDS(pjrt_executable_outputs, n_outputs, 32);
PJRT_AT(pjrt_executable_memory, temp, 56);
PJRT_ENDS(pjrt_executable_memory, peak_unpadded_heap, 144);
PJRT_ENDS(pjrt_device_description, description, 32);
PJRT_AT(pjrt_description_id, id, 24);
PJRT_ENDS(pjrt_description_kind, text_size, 40);
PJRT_AT(pjrt_device_hardware_id, id, 24);
PJRT_AT(pjrt_device_memory, bytes_limit, 80);
PJRT_AT(pjrt_device_memory, bytes_limit.is_set, 88);
PJRT_AT(pjrt_device_memory, peak_pool_bytes, 176);
PJRT_AT(pjrt_device_memory, reserved, 192);

#endif

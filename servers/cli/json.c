// SPDX-License-Identifier: BSD-2-Clause
#include "servers/cli/json.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "servers/cli/cli.h"

/* The element of a field's storage at `place`: the kinds that ipc/manage.proto has. */
static json_t *json_of_element(const ProtobufCFieldDescriptor *field, const void *place)
{
    switch (field->type) {
    case PROTOBUF_C_TYPE_UINT32:
        return json_integer(*(const uint32_t *)place);
    case PROTOBUF_C_TYPE_UINT64:
        return json_integer((json_int_t)(*(const uint64_t *)place & INT64_MAX));
    case PROTOBUF_C_TYPE_STRING:
        return json_string(cli_printable(*(char *const *)place));
    case PROTOBUF_C_TYPE_MESSAGE:
        return *(ProtobufCMessage *const *)place == NULL ? json_null()
                                                         : json_of_message(*(ProtobufCMessage *const *)place);
    default:
        return json_null();
    }
}

static size_t element_octets(const ProtobufCFieldDescriptor *field)
{
    switch (field->type) {
    case PROTOBUF_C_TYPE_UINT32:
        return sizeof(uint32_t);
    case PROTOBUF_C_TYPE_UINT64:
        return sizeof(uint64_t);
    default:
        return sizeof(void *);
    }
}

static int repeated_add(json_t *object, const ProtobufCFieldDescriptor *field, const char *base)
{
    size_t count = *(const size_t *)(const void *)(base + field->quantifier_offset);
    const char *elements = *(const char *const *)(const void *)(base + field->offset);
    char name[64];
    /* span_us is a list already, by its name */
    bool plural = strcmp(field->name, "servers") == 0 || strcmp(field->name, "span_us") == 0;
    snprintf(name, sizeof(name), "%s%s", field->name, plural ? "" : "s");
    json_t *array = json_array();
    for (size_t i = 0; i < count; i++)
        json_array_append_new(array, json_of_element(field, elements + i * element_octets(field)));
    return json_object_set_new(object, name, array);
}

json_t *json_of_message(const ProtobufCMessage *message)
{
    json_t *object = json_object();
    for (unsigned i = 0; object != NULL && i < message->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &message->descriptor->fields[i];
        const char *base = (const char *)message;
        int result = field->label == PROTOBUF_C_LABEL_REPEATED
                         ? repeated_add(object, field, base)
                         : json_object_set_new(object, field->name, json_of_element(field, base + field->offset));
        if (result < 0) {
            json_decref(object);
            return NULL;
        }
    }
    return object;
}

int json_print(const char *command, json_t *document, size_t flags)
{
    int result = document == NULL ? -1 : json_dumpf(document, stdout, flags | JSON_PRESERVE_ORDER);
    json_decref(document);
    if (result < 0 || putchar('\n') == EOF)
        return cli_failed(command, "cannot write the JSON output");
    return CLI_OK;
}

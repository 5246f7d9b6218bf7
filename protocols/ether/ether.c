// SPDX-License-Identifier: BSD-2-Clause
#include "protocols/ether/ether.h"

#include <string.h>

#include "protocols/ether/ether_wire.h"

static bool source_is_station(const struct mac_address *source)
{
    static const struct mac_address zero;
    return !mac_address_is_group(source) && !mac_address_equal(source, &zero);
}

static enum ether_result parse(const struct mac_address *own, const uint8_t *bytes, size_t length,
                               struct ether_header *ret)
{
    struct ether_wire wire;
    if (length < sizeof wire)
        return ETHER_DROP_short;
    memcpy(&wire, bytes, sizeof wire);

    struct ether_header h = {.type = be16_get(wire.type)};
    memcpy(h.destination.octets, wire.destination, sizeof wire.destination);
    memcpy(h.source.octets, wire.source, sizeof wire.source);
    h.group = mac_address_is_group(&h.destination);
    if (!source_is_station(&h.source))
        return ETHER_DROP_source;
    if (h.type < ETHER_TYPE_MIN) /* RFC 1122 2.3.3: MAY be able to receive RFC 1042; we do not */
        return ETHER_DROP_length_type;
    if (!h.group && !mac_address_equal(&h.destination, own))
        return ETHER_DROP_not_ours;
    *ret = h;
    return ETHER_OK;
}

enum ether_result ether_parse(struct ether_counters *counters, const struct mac_address *own, const uint8_t *bytes,
                              size_t length, struct ether_header *ret)
{
    enum ether_result result = parse(own, bytes, length, ret);
    switch (result) {
#define X(name)                                                                                                        \
    case ETHER_DROP_##name:                                                                                            \
        counters->drop_##name++;                                                                                       \
        break;
        ETHER_DROPS(X)
#undef X
    case ETHER_OK:
    case ETHER_RESULTS:
        counters->frames_in++;
        break;
    }
    return result;
}

void ether_build(const struct ether_header *header, uint8_t *ret_bytes)
{
    struct ether_wire wire = {.type = be16_make(header->type)};
    memcpy(wire.destination, header->destination.octets, sizeof wire.destination);
    memcpy(wire.source, header->source.octets, sizeof wire.source);
    memcpy(ret_bytes, &wire, sizeof wire);
}

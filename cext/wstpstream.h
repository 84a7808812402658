/* The frames of the stream to an agent (keeper/stream.py), for the parts that pass them on. */
#ifndef WSTPSTREAM_H
#define WSTPSTREAM_H

#include <stdint.h>

enum {
    STREAM_HEADER = 6,                  /* length of the content (4 bytes), kind, channel */
    STREAM_FRAME = STREAM_HEADER + 1,   /* bytes of a frame beside its content: the line feed, too */
    STREAM_DATA = 0,                    /* the kind of a frame with bytes of a channel */
    STREAM_LINK = 1,                    /* the channel of the link's data */
    STREAM_LINE_FEED = '\n',
    STREAM_SMALL = 16384                /* bytes of the content of a frame that may pass while the stream is lent */
};

/* The bytes of content that a header tells. */
static inline uint32_t stream_length(const uint8_t *header)
{
    return (uint32_t)header[0] << 24 | (uint32_t)header[1] << 16 | (uint32_t)header[2] << 8 | header[3];
}

/* Writes the header of a DATA frame. */
static inline void stream_put_header(uint8_t *header, uint32_t length, uint8_t channel)
{
    header[0] = (uint8_t)(length >> 24);
    header[1] = (uint8_t)(length >> 16);
    header[2] = (uint8_t)(length >> 8);
    header[3] = (uint8_t)length;
    header[4] = STREAM_DATA;
    header[5] = channel;
}

#endif

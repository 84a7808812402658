/*
 * What wstppump.c, wstppass.c and wstprelay.c share.
 */
#ifndef WSTPPUMP_INTERNAL_H
#define WSTPPUMP_INTERNAL_H

#include "wstppump.h"

/* Whether what comes next belongs to a frame that has begun to go to the sink. */
int wstppump_is_passing(const struct wstppump *pump);

#endif

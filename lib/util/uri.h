/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_UTIL_URI_H
#define THINBD_UTIL_URI_H

#include <stdbool.h>

/*
 * Is @where an NBD server's (nbd://, nbds://, nbd+unix://, nbds+unix://, in
 * any case)?  Everything else is a path.
 */
bool thin_is_uri(const char *where);

#endif

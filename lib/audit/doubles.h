/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_AUDIT_DOUBLES_H
#define THINBD_AUDIT_DOUBLES_H

#include "audit/state.h"

/*
 * Report where a device maps a data block twice.  Comes after all mappings
 * have been counted.
 * Cost: nothing where no data block is mapped twice; otherwise one more
 * read of all leaves (several where very many blocks are).
 */
void audit_check_doubles(struct audit *a);

#endif

#ifndef CPOSTGRES_SHIM_H
#define CPOSTGRES_SHIM_H

#include <libpq-fe.h>
#include <spawn.h>

// glibc (2.34 and later) declares it only with _GNU_SOURCE, which Swift's Glibc module is built without. A private
// cluster's processes outlive the call that starts them and must not inherit our sockets and files.
extern int posix_spawn_file_actions_addclosefrom_np(posix_spawn_file_actions_t *actions, int from);

#endif

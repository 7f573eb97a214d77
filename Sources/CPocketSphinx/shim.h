#ifndef CPOCKETSPHINX_SHIM_H
#define CPOCKETSPHINX_SHIM_H

#include <pocketsphinx.h>
#include <sphinxbase/cmn.h>
#include <sphinxbase/err.h>
#include <sphinxbase/fe.h>
#include <sphinxbase/feat.h>

/* err_set_callback takes a variadic function, a type Swift cannot name. The library would otherwise write about 220
   lines to stderr for every ps_init. Both calls are needed: the file silences the configuration table, the callback
   all else. Process-wide; call it before any thread uses the library. */
static inline void cpocketsphinx_silence(void)
{
    err_set_logfp(NULL);
    err_set_callback(NULL, NULL);
}

#endif

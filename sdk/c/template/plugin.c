// NAME, a plugin for Stagepost. "stagepost manual c" says how they are written; stagepost/stagepost.h has all there is.
// After a change: sh stagepost/build.sh
#include "stagepost.h"

// Asked for each recipient.
static sp_verdict on_rcpt(sp_rcpt rcpt) {
  sp_text mailbox = sp_rcpt_address(rcpt).mailbox;
  for (sp_iter i = sp_begin(sp_get(sp_config(), SP("unwanted"))); sp_next(&i);)
    if (sp_equal(sp_as_text(i.value), mailbox)) return sp_reject_with(.text = SP("nobody reads this"), .reason = SP("unwanted"));
  return SP_NEXT; // no opinion: the next plugin is asked
}

SP_PLUGIN(.rcpt = on_rcpt)

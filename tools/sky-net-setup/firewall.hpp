// SPDX-License-Identifier: MIT
#pragma once

#include <string>

namespace sky::net {

/// Runs nft commands in one transaction. Throws Error(kSystem) with nft's first line.
void load_rules(const std::string& commands);

/// Whether both tables of ours are there, as Plan::base with this mark made them. Asks for two
/// chains, however many there are.
[[nodiscard]] bool tables_stand(const std::string& prefix, const std::string& mark);
/// Throws Error(kSystem) if they do not.
void need_tables(const std::string& prefix, const std::string& mark);
/// Takes a tap's chain away, whether it is there or not; nft would list all others first.
void drop_chain(const std::string& prefix, const std::string& chain);
/// Takes away the table of family bridge that older versions had, whether it is there or not.
void drop_old_table(const std::string& prefix);

} // namespace sky::net

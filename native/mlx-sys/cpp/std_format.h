// std::format where the standard library lacks it, as libstdc++ before 13 does. Force-included when mlx-c is compiled.
//
// Owns plain "{}" placeholders only, which is all that mlx-c writes; no format specifications, no escaped braces.
#pragma once

#if __has_include(<format>)
#include <format>
#else

#include <sstream>
#include <string>
#include <string_view>

namespace std {

template <typename... Values>
string format(string_view pattern, const Values&... values) {
  ostringstream out;
  auto put = [&](const auto& value) {
    const auto hole = pattern.find("{}");
    out << pattern.substr(0, hole) << value;
    pattern.remove_prefix(hole == string_view::npos ? pattern.size() : hole + 2);
  };
  (put(values), ...);
  out << pattern;
  return out.str();
}

} // namespace std

#endif

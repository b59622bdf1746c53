// SPDX-License-Identifier: MIT
#include <sky/nomad/elements.hpp>

#include <algorithm>
#include <nlohmann/json.hpp>

namespace sky::nomad {
namespace {

/// Depth 1 is the list, 2 an object of it, and so on.
class Elements : public nlohmann::json_sax<Json> {
  public:
    Elements(const std::vector<std::string_view>& keys, const std::function<void(const Json&)>& f)
        : keys_(keys), f_(f) {}

    bool null() override { return depth_ == 0 || put(nullptr); }
    bool boolean(bool value) override { return put(value); }
    bool number_integer(number_integer_t value) override { return put(value); }
    bool number_unsigned(number_unsigned_t value) override { return put(value); }
    bool number_float(number_float_t value, const string_t& /*text*/) override {
        return put(value);
    }
    bool string(string_t& value) override {
        return skips_ ? depth_ > 1 : put(Json(std::move(value)));
    }
    bool binary(binary_t& /*value*/) override { return false; }
    bool start_object(std::size_t /*size*/) override {
        if (depth_ != 1) {
            return depth_ > 1 && open(Json::object());
        }
        depth_ = 2;
        element_ = Json::object();
        open_.assign(1, &element_);
        return true;
    }
    bool start_array(std::size_t /*size*/) override {
        if (depth_ != 0) {
            return depth_ > 1 && open(Json::array());
        }
        depth_ = 1;
        return true;
    }
    bool end_object() override {
        if (depth_ != 2) {
            return close();
        }
        depth_ = 1;
        skips_ = false;
        f_(element_);
        return true;
    }
    bool end_array() override { return depth_ == 1 ? (depth_ = 0, true) : close(); }
    bool key(string_t& value) override {
        if (depth_ == 2) {
            skips_ = std::find(keys_.begin(), keys_.end(), value) == keys_.end();
        }
        if (!skips_) {
            key_ = std::move(value);
        }
        return true;
    }
    bool parse_error(std::size_t /*at*/, const std::string& /*token*/,
                     const nlohmann::detail::exception& /*error*/) override {
        return false;
    }

  private:
    Json* place(Json value) {
        Json& parent = *open_.back();
        if (parent.is_array()) {
            parent.push_back(std::move(value));
            return &parent.back();
        }
        Json& slot = parent[key_];
        slot = std::move(value);
        return &slot;
    }
    bool put(Json value) {
        if (depth_ > 1 && !skips_) {
            place(std::move(value));
        }
        return depth_ > 1;
    }
    bool open(Json value) {
        ++depth_;
        if (!skips_) {
            open_.push_back(place(std::move(value)));
        }
        return true;
    }
    bool close() {
        --depth_;
        if (!skips_) {
            open_.pop_back();
        }
        return true;
    }

    const std::vector<std::string_view>& keys_;
    const std::function<void(const Json&)>& f_;
    std::size_t depth_ = 0;
    bool skips_ = false; ///< in a member that nobody wants
    Json element_;
    std::vector<Json*> open_; ///< of element_, outermost first
    std::string key_;
};

} // namespace

bool each_element(std::string_view text, const std::vector<std::string_view>& keys,
                  const std::function<void(const Json&)>& f) {
    Elements elements(keys, f);
    return Json::sax_parse(text.begin(), text.end(), &elements);
}

} // namespace sky::nomad
